package http1

import (
	"context"
	"testing"
	"time"

	"github.com/matryer/is"
)

func TestContextThatNobodyHoldsIsUsedAgain(t *testing.T) {
	is := is.New(t)
	c := new(requestContext)
	is.NoErr(c.Err())
	is.True(c.reset()) // nobody has asked for anything
	called := make(chan bool, 1)
	stop := c.AfterFunc(func() { called <- true })
	is.True(stop())
	is.True(!stop())   // it was already
	is.True(c.reset()) // nobody waits any more

	first, second := c.AfterFunc(func() {}), c.AfterFunc(func() {})
	is.True(!stop()) // it stops no other
	is.True(first())
	is.True(second())
	is.True(c.reset())

	c.AfterFunc(func() { called <- true })
	is.True(!c.reset()) // whoever waits must learn of the end
	is.True(<-called)
	is.Equal(c.Err(), context.Canceled)
	is.True(!c.reset()) // it has ended
}

func TestContextEndsThoseThatWait(t *testing.T) {
	is := is.New(t)
	c := new(requestContext)
	derived, cancel := context.WithTimeout(c, time.Hour)
	defer cancel()
	called := make(chan bool, 1)
	stop := context.AfterFunc(derived, func() { called <- true })
	c.cancel()
	<-c.Done()
	<-derived.Done()
	is.True(<-called)
	is.True(!stop())
	is.Equal(derived.Err(), context.Canceled)
	is.True(!c.AfterFunc(func() { called <- true })())
	is.True(<-called) // at once
}
