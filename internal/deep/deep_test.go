package deep_test

import (
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/deep"
)

type leaf struct{ Names []string }

type tree struct {
	leaf   // not exported: the whole is a value
	Number int
}

type data struct {
	Name   string
	Leaf   leaf
	Leaves []leaf
	To     *leaf
	By     map[string][]int
	At     time.Time
	Any    any
}

func TestCopySharesNoMemory(t *testing.T) {
	is := is.New(t)
	one := func() data {
		return data{"a", leaf{[]string{"b"}}, []leaf{{[]string{"c"}}}, &leaf{[]string{"d"}}, map[string][]int{"e": {1}}, time.Unix(1, 0), 7}
	}
	d := one()
	c := deep.Copy(d)
	is.Equal(c, one())
	c.Leaf.Names[0], c.Leaves[0].Names[0], c.To.Names[0], c.By["e"][0] = "x", "x", "x", 9
	is.Equal(d, one()) // what was copied is as it was
	is.Equal(deep.Copy(data{}), data{})
	is.Equal(deep.Copy(&d), &d)
	is.Equal(deep.Copy(tree{leaf{[]string{"a"}}, 1}), tree{leaf{[]string{"a"}}, 1})
}
