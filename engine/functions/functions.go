// Package functions is the one table of function names: it binds a name and the types of its arguments to an overload,
// and says what types the arguments must be cast to and what type comes back. sqlfront resolves calls with it,
// engine/expr has a kernel for every scalar overload and engine/exec an accumulator for every aggregate. It computes no
// values.
package functions

import (
	"slices"
	"sort"
	"strings"
	"sync"

	"kalamflight/internal/fault"
	"kalamflight/manifest"
)

// Class says where a function may stand.
type Class uint8

// The classes. An Aggregate may also be called over a window.
const (
	Scalar Class = iota
	Aggregate
	Window
	Table
)

// String is the class in lower case.
func (c Class) String() string { return [...]string{"scalar", "aggregate", "window", "table"}[c&3] }

// Volatility says how long a result holds for the same arguments.
type Volatility uint8

// The volatilities: for ever, during one statement, not even for two rows.
const (
	Immutable Volatility = iota
	Stable
	Volatile
)

// Bound is a call that was resolved.
type Bound struct {
	// Name is the canonical name: the Name of a plan.Call.
	Name string
	// Args are the types that the arguments must be cast to, one for each argument given.
	Args   []manifest.Type
	Result manifest.Type
	Class  Class
}

// Example is what a statement "SELECT " + SQL gives: its values as text, one for each row, with "; " between.
type Example struct{ SQL, Result string }

// Function is one row of the table. It is immutable and safe for concurrent use.
type Function struct {
	// Name is canonical and in lower case; Aliases mean the same.
	Name    string
	Aliases []string
	Class   Class
	// Group is the family for documentation and SqlInfo: string, numeric, time, json, system, list, vector, conditional,
	// operator.
	Group      string
	Volatility Volatility
	// NullSafe: the result may be other than NULL although an argument is NULL. All other scalar functions are NULL then.
	NullSafe bool
	// Doc is one sentence.
	Doc string
	// Example is a call and what it gives.
	Example   Example
	overloads []overload
}

// Signatures are the overloads as documentation shows them: "substr(TEXT, BIGINT) TEXT".
func (f *Function) Signatures() []string {
	out := make([]string, len(f.overloads))
	for i, o := range f.overloads {
		out[i] = f.Name + o.text
	}
	return out
}

// Samples are argument types that together reach every overload, pattern variables tried with every kind they stand
// for. Tests use them to see that each overload has an implementation.
func (f *Function) Samples() [][]manifest.Type {
	var out [][]manifest.Type
	for _, o := range f.overloads {
		out = append(out, o.samples()...)
	}
	return out
}

// registry is the table with its index by every name.
type registry struct {
	all    []Function
	byName map[string]*Function
}

// table builds the registry at the first use; it never changes afterwards.
var table = sync.OnceValue(func() *registry {
	r := &registry{byName: map[string]*Function{}}
	for _, specs := range [][]spec{operators(), texts(), numbers(), times(), documents(), others(), lists(), aggregates(),
		windows(), tables()} {
		for _, s := range specs {
			r.all = append(r.all, s.function())
		}
	}
	shown := examples()
	for i := range r.all {
		f := &r.all[i]
		f.Example = shown[f.Name]
		for _, name := range append([]string{f.Name}, f.Aliases...) {
			if r.byName[name] != nil {
				panic("bug: two functions named " + name)
			}
			r.byName[name] = f
		}
	}
	return r
})

// All lists every function, operators included, in the order of the table. The slice is the caller's; what it holds is
// shared.
func All() []Function { return append([]Function(nil), table().all...) }

// Names lists the names of the functions of some groups that are words, aliases too, in order.
func Names(groups ...string) []string {
	var out []string
	for _, f := range table().all {
		if !slices.Contains(groups, f.Group) {
			continue
		}
		for _, name := range append([]string{f.Name}, f.Aliases...) {
			if word(name) {
				out = append(out, name)
			}
		}
	}
	slices.Sort(out)
	return out
}

// word tells a name that a call is written with from a sign.
func word(name string) bool {
	return strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789_") == ""
}

// Lookup finds a function by any of its names, whatever the case.
func Lookup(name string) (*Function, bool) {
	f, ok := table().byName[name]
	if !ok {
		f, ok = table().byName[strings.ToLower(name)]
	}
	return f, ok
}

// Resolve binds a call. An argument of Kind Null is a bare NULL, an untyped parameter or an untyped string literal: it
// takes whatever type the overload asks for, TEXT before others. The error is a *fault.SQL without a place: 42883 for
// an unknown name or for argument types that no overload takes.
func Resolve(name string, args []manifest.Type) (Bound, error) {
	f, ok := Lookup(name)
	if !ok {
		e := fault.At(fault.ErrInvalid, "42883", "", -1, "there is no function %s", name)
		if s := Suggest(name); s != "" {
			e = e.WithHint("did you mean %s?", s)
		}
		return Bound{}, e
	}
	best, bestCost := match{}, -1
	for _, o := range f.overloads {
		m, cost, ok := o.match(args)
		if ok && (bestCost < 0 || cost < bestCost) && !f.reads(args, m.args) {
			best, bestCost = m, cost
		}
	}
	if bestCost < 0 {
		return Bound{}, noOverload(f, name, args)
	}
	return Bound{Name: f.Name, Args: best.args, Result: best.result, Class: f.Class}, nil
}

// reads tells whether a cast would read a text as something that f does not take it for unasked: anything else in an
// aggregate; a time in an operator with no time in it, so that text + 1 adds numbers.
func (f *Function) reads(from, to []manifest.Type) bool {
	for i, t := range from {
		switch {
		case !t.Textual() || to[i].Textual():
		case f.Class == Aggregate, f.Group == "operator" && temporal(to[i]) && !slices.ContainsFunc(from, temporal):
			return true
		}
	}
	return false
}

func noOverload(f *Function, name string, args []manifest.Type) error {
	e := fault.At(fault.ErrInvalid, "42883", "", -1, "%s does not take %s", display(f, name), describe(args))
	if f.Group == "operator" && len(args) == 2 {
		e = fault.At(fault.ErrInvalid, "42883", "", -1, "there is no operator %s %s %s", args[0], name, args[1])
		return e.WithHint("cast one side so that both have a type the operator takes")
	}
	sigs := f.Signatures()
	const shown = 4
	if len(sigs) > shown {
		sigs = append(sigs[:shown:shown], "...")
	}
	return e.WithHint("it is %s", strings.Join(sigs, ", "))
}

func display(f *Function, name string) string {
	if f.Group == "operator" {
		return "operator " + name
	}
	return "function " + strings.ToLower(name)
}

func describe(args []manifest.Type) string {
	if len(args) == 0 {
		return "no arguments"
	}
	parts := make([]string, len(args))
	for i, a := range args {
		parts[i] = a.String()
	}
	return "(" + strings.Join(parts, ", ") + ")"
}

// Suggest is the known name nearest to an unknown one, or "" when none is near.
func Suggest(name string) string {
	name = strings.ToLower(name)
	if len(name) < 2 || len(name) > 64 {
		return ""
	}
	best, bestDistance := "", max(1, len(name)/3)+1
	known := table().byName
	names := make([]string, 0, len(known))
	for k := range known {
		names = append(names, k)
	}
	sort.Strings(names)
	for _, k := range names {
		if k[0] < 'a' || k[0] > 'z' {
			continue
		}
		if d := Distance(name, k, bestDistance); d < bestDistance {
			best, bestDistance = k, d
		}
	}
	return best
}

// Distance is the number of letters to insert, delete, replace or swap with their neighbour to get from one word to the
// other, or limit when it is not below limit. It serves the suggestions for every kind of name.
func Distance(from, to string, limit int) int {
	a, b := []rune(from), []rune(to)
	if d := len(a) - len(b); d >= limit || -d >= limit {
		return limit
	}
	before, row, next := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		next[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			next[j] = min(row[j]+1, next[j-1]+1, row[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				next[j] = min(next[j], before[j-2]+1)
			}
		}
		before, row, next = row, next, before
	}
	return min(row[len(b)], limit)
}
