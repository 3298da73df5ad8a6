package grpc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
)

// HealthPath is the request target of a call that asks a server for its health:
// the method Check of grpc.health.v1.Health.
const HealthPath = "/grpc.health.v1.Health/Check"

// A Health is what a server answers to that.
type Health uint64

const (
	HealthUnknown  Health = 0
	HealthServing  Health = 1
	HealthNot      Health = 2
	ServiceUnknown Health = 3
)

// String returns the name that the protocol gives h.
func (h Health) String() string {
	switch h {
	case HealthUnknown:
		return "UNKNOWN"
	case HealthServing:
		return "SERVING"
	case HealthNot:
		return "NOT_SERVING"
	case ServiceUnknown:
		return "SERVICE_UNKNOWN"
	}
	return fmt.Sprintf("STATUS_%d", uint64(h))
}

// The messages have one field, of number 1: HealthCheckRequest a string,
// HealthCheckResponse an enum. A key is the number and, in three bits, how the
// value is written.
const (
	kindVarint = 0
	kindFixed8 = 1
	kindBytes  = 2
	kindFixed4 = 5

	serviceKey = 1<<3 | kindBytes
	statusKey  = 1<<3 | kindVarint
)

// HealthRequest returns the body of a call that asks for the health of a
// service; "": of the server as a whole.
func HealthRequest(service string) []byte {
	var message []byte
	if service != "" {
		message = binary.AppendUvarint([]byte{serviceKey}, uint64(len(service)))
		message = append(message, service...)
	}
	return frame(message)
}

// HealthAnswer returns the body of the answer to such a call.
func HealthAnswer(h Health) []byte {
	var message []byte
	if h != 0 {
		message = binary.AppendUvarint([]byte{statusKey}, uint64(h))
	}
	return frame(message)
}

func frame(message []byte) []byte {
	body := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message)))
	return append(body, message...)
}

var errMessage = errors.New("the answer is no HealthCheckResponse")

// ParseHealth reads the body of an answer to a call that asked for health. Fields
// that it does not know are passed over.
func ParseHealth(body []byte) (h Health, err error) {
	if len(body) < prefixSize || body[0] != 0 || uint64(binary.BigEndian.Uint32(body[1:])) != uint64(len(body)-prefixSize) {
		return 0, errMessage
	}
	for m := body[prefixSize:]; len(m) > 0; {
		var key uint64
		if key, m, err = varint(m); err != nil {
			return 0, err
		}
		var value uint64 // or how long it is
		switch key & 7 {
		case kindVarint, kindBytes:
			if value, m, err = varint(m); err != nil {
				return 0, err
			}
		}
		skip := uint64(0)
		switch key & 7 {
		case kindVarint:
			if key == statusKey {
				h = Health(value)
			}
		case kindFixed8:
			skip = 8
		case kindBytes:
			skip = value
		case kindFixed4:
			skip = 4
		default:
			return 0, errMessage
		}
		if skip > uint64(len(m)) {
			return 0, errMessage
		}
		m = m[skip:]
	}
	return h, nil
}

// varint reads a number off the front of m.
func varint(m []byte) (n uint64, rest []byte, err error) {
	n, size := binary.Uvarint(m)
	if size <= 0 {
		return 0, nil, errMessage
	}
	return n, m[size:], nil
}

// AnswerHealth answers a call that asked for health with h, and returns how many
// bytes of content it wrote. An error of w is the client's, who has left.
func AnswerHealth(w http.ResponseWriter, h Health) (written int64) {
	w.Header()["Content-Type"] = []string{ContentType}
	n, _ := w.Write(HealthAnswer(h))
	Status{Code: OK}.End(w)
	return int64(n)
}
