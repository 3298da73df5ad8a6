package bake_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/bake"
)

// serve has t count n requests, of which some fail.
func serve(t *bake.Tally, at time.Duration, n, failed int, took time.Duration) {
	for i := range n {
		t.Observe(at, took, i < failed)
	}
}

func TestVersionIsJudgedByWhatOthersHaveCountedToo(t *testing.T) {
	is := is.New(t)
	var here, there bake.Tally
	j := bake.NewJudge(&here, time.Minute, bake.Figures{Requests: 1000}, limits)
	var reported bake.Counts
	why := ""
	for second := range 60 {
		at := time.Minute + time.Duration(second)*time.Second
		serve(&here, at, 10, 0, time.Millisecond)
		serve(&there, at, 10, 10, time.Millisecond)
		_, all := there.Own(at)
		here.Add(at, all.Since(reported))
		reported = all
		if why = j.Evaluate(at); why != "" {
			break
		}
	}
	is.True(why != "")
	f, _ := j.Figures()
	is.Equal(f.Requests, 2*f.Errors) // each counts once
	_, own := here.Own(2 * time.Minute)
	is.Equal(own.Failed, uint64(0)) // what is told to others is one's own
}

func TestOwnGoesOnWhenItsMinutesHaveGone(t *testing.T) {
	is := is.New(t)
	var tally bake.Tally
	for minute := range 30 {
		at := time.Duration(minute) * time.Minute
		serve(&tally, at, 100, 1, time.Millisecond)
		recent, all := tally.Own(at)
		is.Equal(all.Requests, uint64(minute+1)*100)
		is.Equal(all.Failed, uint64(minute+1))
		is.Equal(recent.Requests, min(all.Requests, 1100))
	}
}

func TestWhatOthersHaveCountedIsReplaced(t *testing.T) {
	is := is.New(t)
	var tally, other bake.Tally
	serve(&tally, 0, 10, 0, time.Millisecond)
	serve(&other, 0, 500, 5, time.Second)
	recent, _ := other.Own(0)
	for range 3 {
		tally.Replace(time.Minute, recent)
	}
	f := bake.FiguresOf(tally.Window(time.Minute))
	is.Equal(f.Requests, uint64(510))
	is.Equal(f.Errors, uint64(5))
	is.True(f.P99 >= time.Second && f.P99 < 1300*time.Millisecond)
}

func TestCountsThatBeginAnewCountInFull(t *testing.T) {
	is := is.New(t)
	var before, after bake.Tally
	serve(&before, 0, 100, 10, time.Millisecond)
	_, earlier := before.Own(0)
	serve(&after, 0, 3, 0, time.Millisecond) // the proxy was started again
	_, now := after.Own(0)
	is.Equal(now.Since(earlier), now)
	serve(&before, 0, 5, 1, time.Millisecond)
	_, more := before.Own(0)
	is.Equal(more.Since(earlier).Requests, uint64(5))
	is.Equal(more.Since(earlier).Failed, uint64(1))
	is.Equal(earlier.Plus(now).Requests, uint64(103))
}

// As somebody may put it into a store that several proxies share.
func TestMoreThanThereCanBeDoesNotSpillOver(t *testing.T) {
	is := is.New(t)
	var all bake.Counts
	is.NoErr(json.Unmarshal([]byte(`{"failed":4294967295,"took":[4294967295]}`), &all))
	var tally bake.Tally
	for second := range 59 {
		tally.Add(time.Minute+time.Duration(second)*time.Second, all)
	}
	f := bake.FiguresOf(tally.Window(time.Minute))
	is.True(f.Requests > 1<<31 && f.Requests < 1<<32)
	is.Equal(f.Requests, f.Errors)
}

func TestCountsGoThroughJSON(t *testing.T) {
	is := is.New(t)
	var tally bake.Tally
	serve(&tally, 0, 100, 10, 50*time.Millisecond)
	_, counts := tally.Own(0)
	text, err := json.Marshal(counts)
	is.NoErr(err)
	var read bake.Counts
	is.NoErr(json.Unmarshal(text, &read))
	is.Equal(read, counts)
	is.NoErr(json.Unmarshal([]byte("{}"), &read))
	is.Equal(read, bake.Counts{})
	for _, wrong := range []string{
		`{"failed":1}`, `{"took":[-1]}`, `{"took":[4294967296]}`, `{"took":"many"}`,
		`{"took":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]}`,
	} {
		is.True(json.Unmarshal([]byte(wrong), &read) != nil) // wrong
	}
	is.Equal(read, bake.Counts{})
}
