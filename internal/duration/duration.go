// Package duration is about structs of durations. It finds those that cannot be meant:
// in Go, a number alone is so many nanoseconds.
package duration

import (
	"fmt"
	"reflect"
	"time"
)

// Least is the least of the durations that can be meant, 0 and negative ones aside.
const Least = time.Millisecond

// Check returns an error if a field of s, which is a struct, is a duration of more
// than nothing and less than Least. The error calls the field by the name of s's
// type, a period and its own, and says what is wanted.
func Check(s any) error {
	v := reflect.ValueOf(s)
	for i := range v.NumField() {
		d, ok := v.Field(i).Interface().(time.Duration)
		if !ok || d <= 0 || d >= Least {
			continue
		}
		field := v.Type().Name() + "." + v.Type().Field(i).Name
		if d < time.Microsecond {
			return fmt.Errorf("%s: %d is %[2]d ns: want %[2]d * time.Second", field, int64(d))
		}
		return fmt.Errorf("%s: %v is too short: want at least %v", field, d, Least)
	}
	return nil
}

// Raise sets those fields of s, a pointer to a struct, to Least that Check finds.
func Raise(s any) {
	v := reflect.ValueOf(s).Elem()
	for i := range v.NumField() {
		if d, ok := v.Field(i).Interface().(time.Duration); ok && 0 < d && d < Least {
			v.Field(i).SetInt(int64(Least))
		}
	}
}

// Fill sets those durations in a struct that are 0 to those of others.
func Fill[T any](s *T, others T) {
	v, from := reflect.ValueOf(s).Elem(), reflect.ValueOf(others)
	for i := range v.NumField() {
		if d, ok := v.Field(i).Interface().(time.Duration); ok && d == 0 {
			v.Field(i).Set(from.Field(i))
		}
	}
}
