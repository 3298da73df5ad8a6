package page

import (
	"fmt"
	"hash/fnv"
	"math"
	"strconv"
	"time"
)

func formatRate(perSecond float64) string {
	switch {
	case perSecond == 0:
		return "0"
	case perSecond < 9.95:
		return strconv.FormatFloat(perSecond, 'f', 1, 64)
	}
	return strconv.FormatFloat(math.Round(perSecond), 'f', -1, 64)
}

func formatPerSecond(rate float64) string { return formatRate(rate) + "/s" }

func formatShare(share float64) string {
	percent := share * 100
	switch {
	case percent == 0:
		return "0 %"
	case percent < 0.1:
		return "< 0.1 %"
	}
	return strconv.FormatFloat(percent, 'f', 1, 64) + " %"
}

func formatSeconds(s float64) string { return shortTime(time.Duration(s * float64(time.Second))) }

func formatCount(n float64) string { return strconv.FormatFloat(math.Round(n), 'f', -1, 64) }

// shortTime returns d to two or three digits.
func shortTime(d time.Duration) string {
	switch {
	case d == 0:
		return "0"
	case d < time.Millisecond:
		return d.Round(10 * time.Microsecond).String()
	case d < 10*time.Millisecond:
		return d.Round(100 * time.Microsecond).String()
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < 10*time.Second:
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

// clock returns a time of today, in UTC.
func clock(t time.Time) string { return t.UTC().Format("15:04:05") }

// moment returns a time, with its day if that is not now's.
func moment(t, now time.Time) string {
	t, now = t.UTC(), now.UTC()
	if t.Format(time.DateOnly) == now.Format(time.DateOnly) {
		return clock(t)
	}
	return t.Format("2006-01-02 15:04:05")
}

// elementID returns an id for the element about a name, which may be of any bytes.
func elementID(prefix, name string) string {
	h := fnv.New64a()
	h.Write([]byte(name))
	return fmt.Sprintf("%s-%016x", prefix, h.Sum64())
}
