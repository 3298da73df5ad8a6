package bake

import (
	"encoding/json"
	"errors"
	"time"
)

// Counts are numbers of requests, of how many of them failed, and of how long they took. As
// JSON they can be sent to somebody else who judges the same version.
type Counts struct {
	Requests, Failed uint64
	took             [buckets]uint64
}

func (c *Counts) add(o Counts) {
	c.Requests, c.Failed = c.Requests+o.Requests, c.Failed+o.Failed
	for i, n := range o.took {
		c.took[i] += n
	}
}

func (c *Counts) sub(o Counts) {
	c.Requests, c.Failed = c.Requests-o.Requests, c.Failed-min(c.Failed, o.Failed)
	for i, n := range o.took {
		c.took[i] -= n
	}
}

// P99 returns the time that 99 in a hundred requests did not exceed, within 20 %; 0 if
// there were none.
func (c *Counts) P99() time.Duration {
	rank := (c.Requests*99 + 99) / 100
	for i, n := range c.took {
		if n >= rank && rank > 0 {
			_, most := scale.Bounds(i)
			return most
		}
		rank -= min(n, rank)
	}
	return 0
}

// above returns how many took longer than d for sure.
func (c *Counts) above(d time.Duration) (n uint64) {
	for i := scale.Bucket(d) + 1; i < buckets; i++ {
		n += c.took[i]
	}
	return n
}

// Plus returns what both have counted.
func (c Counts) Plus(o Counts) Counts {
	c.add(o)
	return c
}

// Since returns what was counted since there were only earlier ones. If there were more, c
// has begun anew, and all of it is.
func (c Counts) Since(earlier Counts) Counts {
	if c.Failed < earlier.Failed {
		return c
	}
	for i, n := range earlier.took {
		if c.took[i] < n {
			return c
		}
	}
	c.sub(earlier)
	return c
}

// plainCounts are Counts as JSON. Took has no zeros at its end.
type plainCounts struct {
	Failed uint64   `json:"failed,omitempty"`
	Took   []uint64 `json:"took,omitempty"`
}

// MarshalJSON implements json.Marshaler.
func (c Counts) MarshalJSON() ([]byte, error) {
	n := buckets
	for n > 0 && c.took[n-1] == 0 {
		n--
	}
	return json.Marshal(plainCounts{c.Failed, c.took[:n]})
}

// UnmarshalJSON implements json.Unmarshaler.
func (c *Counts) UnmarshalJSON(text []byte) error {
	var p plainCounts
	if err := json.Unmarshal(text, &p); err != nil {
		return err
	}
	var read Counts
	if len(p.Took) > buckets {
		return errors.New("counts of requests that took longer than this program tells apart")
	}
	copy(read.took[:], p.Took)
	for _, n := range p.Took {
		if n >= 1<<32 { // so that no sum is too large
			return errors.New("counts of more requests than there can be")
		}
		read.Requests += n
	}
	if read.Failed = p.Failed; read.Failed > read.Requests {
		return errors.New("counts of requests of which more have failed than there were")
	}
	*c = read
	return nil
}
