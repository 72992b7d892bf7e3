package engine

import (
	"context"
	"slices"
	"strings"

	"kalamflight/manifest"
)

// names are those of some columns of a table.
func names(t *manifest.Table, columns []manifest.ColumnID) []string {
	list := make([]string, len(columns))
	for i, id := range columns {
		c, _ := t.Column(id)
		list[i] = c.Name
	}
	return list
}

func indexRows(e *Engine, _ context.Context, s *viewer, yield yieldRow) error {
	for t := range s.readable() {
		for _, x := range t.Keys() {
			err := yield(t.Namespace, t.Name, x.Name, strings.Join(names(t, x.Columns), ", "), x.Unique, x.Primary,
				x.Constraint)
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func keyRows(e *Engine, _ context.Context, s *viewer, yield yieldRow) error {
	for t := range s.readable() {
		for _, x := range t.Keys() {
			if !x.Constraint {
				continue
			}
			for i, name := range names(t, x.Columns) {
				err := yield(CatalogName, t.Namespace, x.Name, CatalogName, t.Namespace, t.Name, name, i+1)
				if err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func constraintRows(e *Engine, _ context.Context, s *viewer, yield yieldRow) error {
	for t := range s.readable() {
		one := func(name, kind string) error {
			return yield(CatalogName, t.Namespace, name, CatalogName, t.Namespace, t.Name, kind, "NO", "NO", "YES")
		}
		for _, x := range t.Keys() {
			if !x.Constraint {
				continue
			}
			kind := "UNIQUE"
			if x.Primary {
				kind = "PRIMARY KEY"
			}
			if err := one(x.Name, kind); err != nil {
				return err
			}
		}
		for _, c := range t.Checks {
			if err := one(c.Name, "CHECK"); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkRows(e *Engine, _ context.Context, s *viewer, yield yieldRow) error {
	for t := range s.readable() {
		for _, c := range t.Checks {
			if err := yield(CatalogName, t.Namespace, c.Name, c.Text); err != nil {
				return err
			}
		}
	}
	return nil
}

// constraintsOf says in words which indexes and checks read a column, by its place; nil for none.
func (e *Engine) constraintsOf(t *manifest.Table, place int) any {
	var parts []string
	for _, x := range t.Keys() {
		if !slices.Contains(x.Columns, t.Columns[place].ID) {
			continue
		}
		word := "INDEX "
		switch {
		case x.Primary:
			word = "PRIMARY KEY "
		case x.Unique:
			word = "UNIQUE "
		}
		parts = append(parts, word+"("+strings.Join(names(t, x.Columns), ", ")+")")
	}
	for _, c := range t.Checks {
		if e.checkReads(t, c, place) {
			parts = append(parts, "CHECK ("+c.Text+")")
		}
	}
	return orNil(strings.Join(parts, ", "))
}
