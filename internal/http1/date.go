package http1

import (
	"net/http"
	"sync/atomic"
	"time"
)

// A clock makes the value of Date once a second.
type clock struct{ now atomic.Pointer[date] }

type date struct {
	second int64
	value  string
}

func (c *clock) date(now time.Time) string {
	d := c.now.Load()
	if second := now.Unix(); d == nil || d.second != second {
		d = &date{second, now.UTC().Format(http.TimeFormat)}
		c.now.Store(d)
	}
	return d.value
}
