// Package wire marshals structs with durations to JSON and back: a duration
// travels as a string such as "30s".
//
// It is for the MarshalJSON and UnmarshalJSON methods of such structs. A struct
// has fields that are all exported, and none that is embedded; their tags mean
// what they mean to encoding/json.
//
// Of what somebody asks for, a field that is not known is a misspelt one: that is
// for UnmarshalStrict. What a program tells may be newer: that is for Unmarshal.
package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"time"
)

// Marshal returns the JSON encoding of v, which is a struct. Its durations come
// after its other fields.
func Marshal(v any) ([]byte, error) {
	return json.Marshal(encode(reflect.ValueOf(v)).Interface())
}

// Unmarshal decodes the one JSON value in data into the struct that v points to.
// It passes over fields that the struct does not have. After an error nothing is
// decoded.
func Unmarshal(data []byte, v any) error {
	return unmarshal(json.NewDecoder(bytes.NewReader(data)), v)
}

// UnmarshalStrict is Unmarshal, but refuses fields that the struct does not have.
// Types with an UnmarshalJSON method decide for themselves about their fields.
func UnmarshalStrict(data []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	return unmarshal(d, v)
}

func unmarshal(d *json.Decoder, v any) error {
	decoded := reflect.ValueOf(v).Elem()
	encoded := encode(decoded) // for fields that are not in the data keep their values
	if err := d.Decode(encoded.Addr().Interface()); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("json: more than one value")
	}
	for i, field := range fieldsOf(decoded.Type()) {
		to := decoded.FieldByIndex(field.Index)
		to.Set(encoded.Field(i).Convert(to.Type()))
	}
	return nil
}

// encode returns an addressable struct with the fields of v as they travel.
func encode(v reflect.Value) reflect.Value {
	from := fieldsOf(v.Type())
	fields := make([]reflect.StructField, len(from))
	for i, field := range from {
		fields[i] = reflect.StructField{Name: field.Name, Type: field.Type, Tag: field.Tag}
		if field.Type == reflect.TypeFor[time.Duration]() {
			fields[i].Type = reflect.TypeFor[duration]()
		}
	}
	encoded := reflect.New(reflect.StructOf(fields)).Elem()
	for i, field := range from {
		to := encoded.Field(i)
		to.Set(v.FieldByIndex(field.Index).Convert(to.Type()))
	}
	return encoded
}

// fieldsOf returns the fields of a struct in the order in which they travel.
func fieldsOf(t reflect.Type) []reflect.StructField {
	var others, durations []reflect.StructField
	for field := range t.Fields() {
		if field.Type == reflect.TypeFor[time.Duration]() {
			durations = append(durations, field)
		} else {
			others = append(others, field)
		}
	}
	return append(others, durations...)
}

// A duration is a time.Duration as it travels.
type duration time.Duration

// MarshalText returns what time.Duration.String does.
func (d duration) MarshalText() ([]byte, error) {
	return []byte(time.Duration(d).String()), nil
}

// UnmarshalText accepts what time.ParseDuration does.
func (d *duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("duration %q: want numbers with units, such as \"1m30s\"", text)
	}
	*d = duration(v)
	return nil
}
