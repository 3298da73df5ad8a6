package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A logLine is a line of the log in JSON, with its fields in their order.
type logLine []logField

type logField struct{ name, value string }

// parseLogLine parses a line of the log. ok is false if it is not in JSON, as with
// run --log-format text.
func parseLogLine(line []byte) (l logLine, ok bool) {
	in := json.NewDecoder(bytes.NewReader(line))
	if t, err := in.Token(); err != nil || t != json.Delim('{') {
		return nil, false
	}
	for in.More() {
		name, err := in.Token()
		var value json.RawMessage
		if err != nil || in.Decode(&value) != nil {
			return nil, false
		}
		l = append(l, logField{fmt.Sprint(name), textOf(value)})
	}
	return l, true
}

// textOf returns a value as people write it: strings without quotes, and lists with
// commas.
func textOf(value json.RawMessage) string {
	var text string
	if json.Unmarshal(value, &text) == nil {
		return text
	}
	var list []string
	if json.Unmarshal(value, &list) == nil {
		return strings.Join(list, ",")
	}
	return string(value)
}

// field returns the value of a field, or "".
func (l logLine) field(name string) string {
	if i := slices.IndexFunc(l, func(f logField) bool { return f.name == name }); i >= 0 {
		return l[i].value
	}
	return ""
}

// A logFormatter formats lines of the log in columns for a terminal: when, which
// service, the status or the event, what it was, and how long it took.
type logFormatter struct {
	zone         *time.Location // of the times that are shown; nil: the local one
	serviceWidth int            // of the widest service so far
}

// The widths of the columns.
const (
	minServiceWidth  = 6
	maxServiceWidth  = 20
	logStatusWidth   = len("ERROR")
	logDurationWidth = len("999.9ms")
	minRequestWidth  = 12
)

// narrowLog is the number of columns below which a line has no date.
const narrowLog = 70

// format returns the lines that a line of the log makes on d. What it has is
// printable there.
func (f *logFormatter) format(l logLine, d display) string {
	layout, when := time.Stamp, l.field("time")
	if d.columns < narrowLog {
		layout = time.TimeOnly
	}
	if t, err := time.Parse(time.RFC3339Nano, when); err == nil {
		when = t.In(cmp.Or(f.zone, time.Local)).Format(layout)
	}
	service := singleLine(l.field("service"))
	f.serviceWidth = max(f.serviceWidth, displayWidth(service), minServiceWidth)
	width := min(f.serviceWidth, maxServiceWidth, max(d.columns/6, minServiceWidth))
	before := pad(truncate(singleLine(when), len(layout)), len(layout)) + pad(shortenMiddle(service, width), width)
	room := d.columns - displayWidth(before) - logStatusWidth - columnGap
	if l.field("msg") == "Request" {
		return before + f.request(l, room, d)
	}
	return before + f.event(l, room, d)
}

// request returns what a line says of a request: its status, what was asked, why
// that failed, and how long it took.
func (f *logFormatter) request(l logLine, room int, d display) string {
	took, _ := strconv.ParseInt(l.field("duration"), 10, 64)
	duration := fmt.Sprintf("%*s", logDurationWidth, formatDuration(time.Duration(took)))
	if room -= logDurationWidth + columnGap; room < minRequestWidth {
		room, duration = max(room+logDurationWidth+columnGap, minRequestWidth), ""
	}
	method, path, why := singleLine(l.field("method")), singleLine(l.field("path")), singleLine(l.field("error"))
	if query := singleLine(l.field("query")); query != "" {
		path += "?" + query
	}
	if why != "" {
		asked := displayWidth(method) + 1 + min(displayWidth(path), minRequestWidth/2)
		why = truncate("  "+why, room-asked)
	}
	what := shortenMiddle(method+" "+path, room-displayWidth(why)) + why
	status := singleLine(l.field("status"))
	return colourStatus(status, d) + strings.TrimRight(pad(what, room)+duration, " ") + "\n"
}

// colourStatus returns the column of a status, in the colour of its class.
func colourStatus(status string, d display) string {
	tone := toneBad // there was no answer
	switch {
	case strings.HasPrefix(status, "2"):
		tone = toneGood
	case strings.HasPrefix(status, "1"), strings.HasPrefix(status, "3"):
		tone = tonePlain
	case strings.HasPrefix(status, "4"):
		tone = toneWaiting
	}
	return d.inColour(pad(status, logStatusWidth), tone)
}

// event returns what a line says of anything but a request: the event, and all
// further fields that are not empty, in as many lines as that takes.
func (f *logFormatter) event(l logLine, room int, d display) string {
	level, tone := l.field("level"), tonePlain
	switch level {
	case "WARN":
		tone = toneWaiting
	case "ERROR":
		tone = toneBad
	case "INFO":
		level = ""
	}
	pieces := []string{singleLine(l.field("msg"))}
	for _, field := range l {
		switch {
		case slices.Contains([]string{"time", "level", "msg", "service"}, field.name), field.value == "":
		default:
			pieces[len(pieces)-1] += " "
			pieces = append(pieces, singleLine(field.name)+"="+quoteIfNeeded(field.value))
		}
	}
	lines := wrap(pieces, max(room, minRequestWidth))
	indent := strings.Repeat(" ", d.columns-room)
	return d.inColour(pad(truncate(singleLine(level), logStatusWidth), logStatusWidth), tone) + strings.Join(lines, "\n"+indent) + "\n"
}

// quoteIfNeeded returns a value, in quotes if one could not see where it ends.
func quoteIfNeeded(value string) string {
	value = singleLine(value)
	if strings.ContainsAny(value, ` "`) {
		return strconv.Quote(value)
	}
	return value
}
