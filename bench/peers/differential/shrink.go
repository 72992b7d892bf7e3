package main

import (
	"context"
	"regexp"
	"strings"
	"time"
)

// words cuts a query of the generator into what shrink leaves out.
var words = regexp.MustCompile(`'(?:[^']|'')*'|\{[nw]\}\.?|[A-Za-z_]\w*|\d+(?:\.\d+)?|<=|>=|<>|\|\||->>|->|\S`)

// shrink looks for a shorter query that differs as this one does: it leaves out words, and puts a part in brackets in
// the place of the whole, as long as differs still says so. It gives up after a number of tries and some seconds.
func shrink(ctx context.Context, query string, differs func(query string) bool) string {
	const tries, longest = 4000, 20 * time.Second
	deadline := time.Now().Add(longest)
	best := words.FindAllString(query, -1)
	left := tries
	try := func(candidate []string) bool {
		if left--; left < 0 || !ordered(candidate) || ctx.Err() != nil || time.Now().After(deadline) ||
			!differs(join(candidate)) {
			return false
		}
		best = candidate
		return true
	}
	if !differs(join(best)) {
		return query
	}
	for before := -1; before != len(best) && left > 0; {
		before = len(best)
		hoist(&best, try)
		for size := len(best) / 2; size > 0; size = size * 2 / 3 {
			for at := 0; at+size <= len(best); {
				if !try(without(best, at, at+size)) {
					at++
				}
			}
		}
	}
	return join(best)
}

// hoist tries to put each part in brackets in the place of the call or the brackets around it.
func hoist(best *[]string, try func([]string) bool) {
	for at := 0; at < len(*best); at++ {
		w := *best
		if w[at] != "(" {
			continue
		}
		end := match(w, at)
		if end < 0 {
			return
		}
		for _, start := range []int{at - 1, at} {
			if start < 0 {
				continue
			}
			for from, to := range parts(w, at, end) {
				if try(append(append(append([]string{}, w[:start]...), w[from:to]...), w[end+1:]...)) {
					at = max(start-1, -1)
					break
				}
			}
			if len(*best) != len(w) {
				break
			}
		}
	}
}

// match is the bracket that closes the one at a place, -1 without.
func match(w []string, at int) int {
	depth := 0
	for i := at; i < len(w); i++ {
		switch w[i] {
		case "(":
			depth++
		case ")":
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return -1
}

// parts are the ranges between the commas of a bracket, and of all that is in it.
func parts(w []string, open, shut int) map[int]int {
	out := map[int]int{}
	depth, start := 0, open+1
	for i := open + 1; i <= shut; i++ {
		switch w[i] {
		case "(":
			depth++
		case ")":
			depth--
		}
		if i == shut || depth == 0 && w[i] == "," {
			out[start], start = i, i+1
		}
	}
	return out
}

// ordered tells whether there is an ORDER BY for everything whose answer depends on one.
func ordered(w []string) bool {
	n := 0
	for _, x := range w {
		switch strings.ToLower(x) {
		case "array_agg", "string_agg", "limit", "over":
			n--
		case "order":
			n++
		}
	}
	return n >= 0
}

func without(w []string, from, to int) []string {
	return append(append(make([]string, 0, len(w)), w[:from]...), w[to:]...)
}

func join(w []string) string {
	var b strings.Builder
	for i, x := range w {
		if i > 0 && x != "." && x != "," && x != ")" && w[i-1] != "." && w[i-1] != "{n}." && w[i-1] != "(" {
			b.WriteByte(' ')
		}
		b.WriteString(x)
	}
	return b.String()
}
