package logline_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/logline"
)

// logged returns a line with a as a log of JSON has it, without its head.
func logged(a logline.Attrs) string {
	var out bytes.Buffer
	slog.New(slog.NewJSONHandler(&out, nil)).LogAttrs(context.Background(), slog.LevelInfo, "m", a...)
	_, line, _ := strings.Cut(strings.TrimSpace(out.String()), `"msg":"m"`)
	return strings.TrimSuffix(strings.TrimPrefix(line, ","), "}")
}

// A structured error has a form of JSON.
type structured struct{ text string }

func (s *structured) Error() string                { return s.text }
func (s *structured) MarshalJSON() ([]byte, error) { return json.Marshal([]string{s.text}) }

func TestWhatSaysNothingIsLeftOut(t *testing.T) {
	for name, attr := range map[string]slog.Attr{
		"no text":           slog.String("a", ""),
		"zero":              slog.Uint64("a", 0),
		"no time":           slog.Duration("a", 0),
		"false":             slog.Bool("a", false),
		"nil":               slog.Any("a", nil),
		"nil list":          slog.Any("a", []string(nil)),
		"empty list":        slog.Any("a", []string{}),
		"no error":          slog.Any("a", error(nil)),
		"nil pointer":       slog.Any("a", (*structured)(nil)),
		"error of no words": slog.Any("a", errors.New("")),
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			var a logline.Attrs
			a.AddSaid(slog.Int("before", 1), attr, slog.Int("after", 2))
			is.Equal(logged(a), `"before":1,"after":2`)
			a = nil
			a.Add(attr)
			is.Equal(len(a), 1) // where it is added all the same
		})
	}
}

func TestWhatSaysSomethingIsKeptInOrder(t *testing.T) {
	is := is.New(t)
	var a logline.Attrs
	a.Add(slog.String("first", ""))
	a.AddSaid(slog.String("b", "x"), slog.Uint64("a", 7), slog.Duration("d", time.Second), slog.Any("list", []string{""}))
	a.Add(slog.Int("last", 0))
	is.Equal(logged(a), `"first":"","b":"x","a":7,"d":1000000000,"list":[""],"last":0`)
}

func TestErrorsAndStringersAreText(t *testing.T) {
	is := is.New(t)
	var a logline.Attrs
	a.AddSaid(slog.Any("error", &structured{"it failed"}), slog.Any("addr", netip.MustParseAddr("10.0.0.7")), slog.Any("late", context.DeadlineExceeded))
	is.Equal(logged(a), `"error":"it failed","addr":"10.0.0.7","late":"context deadline exceeded"`)
	is.Equal(a[1].Value.Kind(), slog.KindString)
}
