package main

import (
	"strings"
)

// A lineLayout is a line about the progress of a change, in parts that are each
// shortened in their own way where the terminal is narrow.
type lineLayout struct {
	service string
	target  string // "" if the line is about the service
	status  string
	detail  string // the reason
	brief   string // a shorter form of detail; "" if there is none
	count   string // such as "4 probes"
	clock   string // such as "1.2s of 30s"

	targetWidth, statusWidth int // of the columns, where there is room for them
}

// The widths of names that can still be told apart, and the least that is left of
// them.
const (
	readableService, shortestService = 12, 3
	readableTarget, shortestTarget   = 15, 5
)

// fit shortens l to a number of columns. First go the blanks that make the
// columns, then what a reason quotes, the count and the clock; then names are
// shortened. The reason is shortened only if all that was not enough.
func (l *lineLayout) fit(columns int) {
	steps := []func(by int){
		func(by int) { l.statusWidth -= min(by, max(l.statusWidth-displayWidth(l.status), 0)) },
		func(by int) { l.targetWidth -= min(by, max(l.targetWidth-displayWidth(l.firstColumn()), 0)) },
		func(by int) {
			if l.brief != "" {
				l.detail = l.brief
			}
		},
		func(by int) {
			if l.clock != "" {
				l.count = ""
			}
		},
		func(by int) { l.shortenTarget(by, readableTarget) },
		func(by int) { l.service = shortenMiddle(l.service, max(displayWidth(l.service)-by, readableService)) },
		func(by int) { l.count, l.clock = "", "" },
		func(by int) { l.shortenTarget(by, shortestTarget) },
		func(by int) { l.service = shortenMiddle(l.service, max(displayWidth(l.service)-by, shortestService)) },
		func(by int) { l.detail = truncate(l.detail, max(displayWidth(l.detail)-by, 0)) },
	}
	for _, step := range steps {
		tooWide := displayWidth(l.text(func(status string) string { return status })) - columns
		if tooWide <= 0 {
			return
		}
		step(tooWide)
	}
}

// firstColumn returns what stands in the column of targets.
func (l *lineLayout) firstColumn() string {
	if l.target == "" {
		return l.status
	}
	return l.target
}

func (l *lineLayout) shortenTarget(by, least int) {
	if l.target == "" {
		return
	}
	l.target = shortenMiddle(l.target, max(displayWidth(l.target)-by, least))
	l.targetWidth = min(l.targetWidth, displayWidth(l.target))
}

// text returns the line, with the status as highlight returns it.
func (l *lineLayout) text(highlight func(status string) string) string {
	line, status := pad(l.service, 0), pad(l.status, l.targetWidth)
	if l.target != "" {
		line, status = line+pad(l.target, l.targetWidth), pad(l.status, l.statusWidth)
	}
	var clock []string
	for _, part := range []string{l.count, l.clock} {
		if part != "" {
			clock = append(clock, part)
		}
	}
	rest := l.detail
	if len(clock) > 0 {
		rest = strings.TrimLeft(rest+" ("+strings.Join(clock, ", ")+")", " ")
	}
	if rest == "" {
		status = strings.TrimRight(status, " ")
	}
	return line + highlight(status) + rest
}

// pad returns s in a column of that width, and a gap behind it.
func pad(s string, width int) string {
	return s + strings.Repeat(" ", max(width-displayWidth(s), 0)+columnGap)
}

// shortenMiddle returns s, shortened to that many columns if it takes more. The
// middle is left out, since names that are alike begin alike and end differently.
func shortenMiddle(s string, columns int) string {
	if displayWidth(s) <= columns {
		return s
	}
	if columns < 1 {
		return ""
	}
	head, _ := cutWidth(s, columns/2)
	room := columns - displayWidth(head) - displayWidth(ellipsis)
	tail := s
	for displayWidth(tail) > room {
		_, tail = cutFirst(tail)
	}
	return head + ellipsis + tail
}
