package control_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
)

func TestHistoryIsReadInWhateverFormAProxyPutsIt(t *testing.T) {
	began := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	past := []parachute.Past{
		{Service: "web", Generation: 7, Release: "v2", Targets: []string{"a:1"}, Switched: began},
		{Service: "web", Generation: 6, Release: "<v1>", Targets: []string{"a:1", "b:1"}, Switched: began, Ended: began, End: "replaced"},
	}
	quick, _ := json.Marshal(past[:1])
	slow, _ := json.Marshal(past)
	for name, test := range map[string]struct {
		text string
		want []parachute.Past
	}{
		"none":                 {"[]", []parachute.Past{}},
		"one":                  {string(quick), past[:1]},
		"several":              {string(quick[:len(quick)-1]) + "," + string(quick[1:]), []parachute.Past{past[0], past[0]}},
		"signs that need care": {string(slow), past},
		"that of a newer one":  {`[ {"mood":"good","service":"web","targets":["a:1"],"figures":{"p999":"1s"}} ]`, []parachute.Past{{Service: "web", Targets: []string{"a:1"}}}},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			for _, head := range []string{"", fmt.Sprintf("Content-Length: %d\r\n", len(test.text)+1)} {
				answer := "HTTP/1.1 200 OK\r\nConnection: close\r\n" + head + "\r\n" + test.text + "\n"
				got, err := clientOf(t, answer).History(t.Context(), "web")
				is.NoErr(err)
				is.Equal(got, test.want)
				text, err := clientOf(t, answer).HistoryJSON(t.Context(), "web")
				is.NoErr(err)
				is.Equal(text, test.text+"\n") // as it is
			}
		})
	}
}

func TestHistoryThatIsNoneIsAnError(t *testing.T) {
	one := `{"service":"web","generation":7,"targets":[],"figures":{"requests":0,"errors":0,"error_rate":0,"served":"0s","p50":"0s","p99":"0s"}}`
	for _, text := range []string{"", "[", "[" + one, "[" + one + one + "]", "[," + one + "]", "[" + one + ",]", "[" + one + "]]", "{}"} {
		t.Run(text, func(t *testing.T) {
			_, err := clientOf(t, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"+text+"\n").History(t.Context(), "web")
			is.New(t).True(err != nil)
		})
	}
	is := is.New(t)
	_, err := clientOf(t, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 9000000000000000000\r\n\r\n[]").History(t.Context(), "web")
	is.True(err != nil) // it is cut off
}

func TestHistoryTravelsAsItIs(t *testing.T) {
	is := is.New(t)
	p := newPlane(t, parachute.Options{KeepHistory: 10})
	for _, release := range []string{"v1", "<v2>", "v3"} {
		d := deployment("web")
		d.Release, d.By = release, "Änne"
		is.NoErr(p.proxy.Deploy(t.Context(), d))
	}
	want, err := p.proxy.History("web")
	is.NoErr(err)
	got, err := p.client.History(t.Context(), "")
	is.NoErr(err)
	is.Equal(len(got), 3)
	for i := range got {
		is.True(got[i].Switched.Equal(want[i].Switched) && got[i].Ended.Equal(want[i].Ended))
		is.Equal(got[i].Release, want[i].Release)
		is.Equal(got[i].By, want[i].By)
		is.Equal(got[i].Targets, want[i].Targets)
	}
}
