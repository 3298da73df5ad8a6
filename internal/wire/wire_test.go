package wire_test

import (
	"encoding/json"
	"math"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/wire"
)

// message stands for the types of the root: a name, and a duration that is
// left out when it is zero.
type message struct {
	Name string         `json:"name,omitempty"`
	Wait *wire.Duration `json:"wait,omitzero"`
}

func TestDurationTravelsAsAString(t *testing.T) {
	tests := []struct {
		value time.Duration
		want  string
	}{
		{30 * time.Second, `{"wait":"30s"}`},
		{90 * time.Minute, `{"wait":"1h30m0s"}`},
		{1500 * time.Microsecond, `{"wait":"1.5ms"}`},
		{-time.Second, `{"wait":"-1s"}`},
		{math.MaxInt64, `{"wait":"2562047h47m16.854775807s"}`},
		{math.MinInt64, `{"wait":"-2562047h47m16.854775808s"}`},
		{0, `{}`},
	}
	for _, tt := range tests {
		t.Run(tt.value.String(), func(t *testing.T) {
			is := is.New(t)
			out, err := json.Marshal(message{Wait: (*wire.Duration)(&tt.value)})
			is.NoErr(err)
			is.Equal(string(out), tt.want) // written as a string, or left out when zero

			var back time.Duration
			is.NoErr(wire.Unmarshal(out, &message{Wait: (*wire.Duration)(&back)}))
			is.Equal(back, tt.value) // read back into the variable behind the pointer
		})
	}
}

func TestZeroDurationIsWrittenWhereItIsNotOptional(t *testing.T) {
	is := is.New(t)
	var zero time.Duration
	out, err := json.Marshal(struct {
		Took *wire.Duration `json:"took"`
	}{(*wire.Duration)(&zero)})
	is.NoErr(err)
	is.Equal(string(out), `{"took":"0s"}`)
}

func TestDurationRefusesWhatHasNoUnit(t *testing.T) {
	for _, text := range []string{"", "30", "30 s", "1d", "s", "1h-5m", "9999999h"} {
		t.Run(text, func(t *testing.T) {
			is := is.New(t)
			d := wire.Duration(time.Minute)
			err := d.UnmarshalText([]byte(text))
			is.True(err != nil)
			is.Equal(d, wire.Duration(time.Minute)) // an error leaves the value alone
			is.Equal(err.Error(), `duration "`+text+`": want numbers with units, such as "1m30s"`)
		})
	}
}

func TestUnmarshalTakesOneKnownValue(t *testing.T) {
	tests := []struct {
		name, data string
		ok         bool
	}{
		{"object", `{"name":"a","wait":"1s"}`, true},
		{"space around it", " \n{\"name\":\"a\"}\n ", true},
		{"unknown field", `{"name":"a","nmae":"b"}`, false},
		{"two values", `{"name":"a"}{"name":"b"}`, false},
		{"junk behind it", `{"name":"a"}]`, false},
		{"nothing", ``, false},
		{"half a value", `{"name":`, false},
		{"other type", `{"name":3}`, false},
		{"duration as a number", `{"wait":30}`, false},
		{"no JSON", `name=a`, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			is := is.New(t)
			var wait time.Duration
			err := wire.Unmarshal([]byte(tt.data), &message{Wait: (*wire.Duration)(&wait)})
			is.Equal(err == nil, tt.ok) // taken only if nothing is wrong with it
		})
	}
}

// FuzzDurationText holds UnmarshalText against time.ParseDuration, and what is
// written afterwards against what was read.
func FuzzDurationText(f *testing.F) {
	for _, s := range []string{"30s", "1m30s", "-1ms", "0", "1.5h", "+2us", "3µs", ".5s", "1e3s", "", "5", "9223372036854775807ns"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		is := is.New(t)
		want, wantErr := time.ParseDuration(text)
		var got wire.Duration
		err := got.UnmarshalText([]byte(text))
		is.Equal(err == nil, wantErr == nil) // both take it, or neither
		is.Equal(time.Duration(got), want)

		out, err := got.MarshalText()
		is.NoErr(err)
		var back wire.Duration
		is.NoErr(back.UnmarshalText(out)) // what is written can be read
		is.Equal(back, got)
	})
}

// FuzzDurationValue sends every duration there is through JSON and back.
func FuzzDurationValue(f *testing.F) {
	for _, n := range []int64{0, 1, -1, int64(time.Hour), math.MaxInt64, math.MinInt64} {
		f.Add(n)
	}
	f.Fuzz(func(t *testing.T, n int64) {
		is := is.New(t)
		out, err := json.Marshal(message{Wait: (*wire.Duration)(&n)})
		is.NoErr(err)
		var back int64
		is.NoErr(wire.Unmarshal(out, &message{Wait: (*wire.Duration)(&back)}))
		is.Equal(back, n)
	})
}
