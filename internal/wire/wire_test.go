package wire_test

import (
	"encoding/json"
	"errors"
	"math"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/wire"
)

// message stands for the types of the root: a duration that is left out when it
// is zero, and a name.
type message struct {
	Wait time.Duration `json:"wait,omitzero"`
	Name string        `json:"name,omitempty"`
}

// report has a message in it, and a duration that is always there.
type report struct {
	Took    time.Duration `json:"took"`
	Message message       `json:"message"`
	Retries []int         `json:"retries"`
}

func (m message) MarshalJSON() ([]byte, error) { return wire.Marshal(m) }

func (m *message) UnmarshalJSON(b []byte) error { return wire.UnmarshalStrict(b, m) }

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
			out, err := wire.Marshal(message{Wait: tt.value})
			is.NoErr(err)
			is.Equal(string(out), tt.want) // written as a string, or left out when zero

			var back message
			is.NoErr(wire.Unmarshal(out, &back))
			is.Equal(back.Wait, tt.value)
		})
	}
}

func TestZeroDurationIsWrittenWhereItIsNotOptional(t *testing.T) {
	is := is.New(t)
	out, err := wire.Marshal(report{})
	is.NoErr(err)
	is.Equal(string(out), `{"message":{},"retries":null,"took":"0s"}`)
}

func TestDurationsTravelAfterTheOtherFieldsAtEveryDepth(t *testing.T) {
	is := is.New(t)
	sent := report{time.Second, message{time.Minute, "a"}, []int{1, 2}}
	out, err := json.Marshal(sent)
	is.NoErr(err)
	is.Equal(string(out), `{"took":1000000000,"message":{"name":"a","wait":"1m0s"},"retries":[1,2]}`) // of report itself without wire
	out, err = wire.Marshal(sent)
	is.NoErr(err)
	is.Equal(string(out), `{"message":{"name":"a","wait":"1m0s"},"retries":[1,2],"took":"1s"}`)

	var back report
	is.NoErr(wire.Unmarshal(out, &back))
	is.Equal(back, sent)
}

func TestFieldsThatAreNotInTheDataKeepTheirValues(t *testing.T) {
	is := is.New(t)
	m := message{time.Second, "a"}
	is.NoErr(wire.Unmarshal([]byte(`{"name":"b"}`), &m))
	is.Equal(m, message{time.Second, "b"})
	is.NoErr(wire.Unmarshal([]byte(`{"wait":null}`), &m))
	is.Equal(m, message{time.Second, "b"}) // null is no value, as encoding/json has it
	is.NoErr(wire.Unmarshal([]byte(`null`), &m))
	is.Equal(m, message{time.Second, "b"})
}

func TestAnErrorLeavesTheStructAlone(t *testing.T) {
	is := is.New(t)
	m := message{time.Second, "a"}
	is.True(wire.Unmarshal([]byte(`{"name":"b","wait":3}`), &m) != nil)
	is.Equal(m, message{time.Second, "a"})
	is.True(wire.Unmarshal([]byte(`{"name":"b"} 1`), &m) != nil)
	is.Equal(m, message{time.Second, "a"})
}

func TestTypeErrorsNameTheField(t *testing.T) {
	is := is.New(t)
	err := json.Unmarshal([]byte(`{"message":{"name":3}}`), new(report))
	wrong, ok := errors.AsType[*json.UnmarshalTypeError](err)
	is.True(ok)
	is.Equal(wrong.Field, "message.name")
	is.Equal(wrong.Value, "number")
}

func TestDurationRefusesWhatHasNoUnit(t *testing.T) {
	for _, text := range []string{"", "30", "30 s", "1d", "s", "1h-5m", "9999999h"} {
		t.Run(text, func(t *testing.T) {
			is := is.New(t)
			m := message{Wait: time.Minute}
			err := wire.Unmarshal([]byte(`{"wait":"`+text+`"}`), &m)
			is.True(err != nil)
			is.Equal(m.Wait, time.Minute) // an error leaves the value alone
			is.Equal(err.Error(), `duration "`+text+`": want numbers with units, such as "1m30s"`)
		})
	}
}

func TestUnmarshalTakesOneKnownValue(t *testing.T) {
	tests := []struct {
		name, data   string
		strict, lazy bool
	}{
		{"object", `{"name":"a","wait":"1s"}`, true, true},
		{"space around it", " \n{\"name\":\"a\"}\n ", true, true},
		{"unknown field", `{"name":"a","nmae":"b"}`, false, true},
		{"two values", `{"name":"a"}{"name":"b"}`, false, false},
		{"junk behind it", `{"name":"a"}]`, false, false},
		{"nothing", ``, false, false},
		{"half a value", `{"name":`, false, false},
		{"other type", `{"name":3}`, false, false},
		{"duration as a number", `{"wait":30}`, false, false},
		{"no object", `[]`, false, false},
		{"no JSON", `name=a`, false, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			is := is.New(t)
			is.Equal(wire.UnmarshalStrict([]byte(tt.data), new(message)) == nil, tt.strict) // taken only if nothing is wrong with it
			is.Equal(wire.Unmarshal([]byte(tt.data), new(message)) == nil, tt.lazy)         // likewise, but for fields that it does not know
		})
	}
}

// FuzzDurationText holds what is read against time.ParseDuration, and what is
// written afterwards against what was read.
func FuzzDurationText(f *testing.F) {
	for _, s := range []string{"30s", "1m30s", "-1ms", "0", "1.5h", "+2us", "3µs", ".5s", "1e3s", "", "5", "9223372036854775807ns"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		is := is.New(t)
		quoted, err := json.Marshal(text)
		is.NoErr(err)
		var plain string // text, or what JSON makes of it where it is no UTF-8
		is.NoErr(json.Unmarshal(quoted, &plain))
		want, wantErr := time.ParseDuration(plain)
		var got message
		err = wire.Unmarshal([]byte(`{"wait":`+string(quoted)+`}`), &got)
		is.Equal(err == nil, wantErr == nil) // both take it, or neither
		is.Equal(got.Wait, want)

		out, err := wire.Marshal(got)
		is.NoErr(err)
		var back message
		is.NoErr(wire.Unmarshal(out, &back)) // what is written can be read
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
		out, err := wire.Marshal(message{Wait: time.Duration(n)})
		is.NoErr(err)
		var back message
		is.NoErr(wire.Unmarshal(out, &back))
		is.Equal(back.Wait, time.Duration(n))
	})
}
