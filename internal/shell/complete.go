package shell

import (
	"slices"
	"strings"
)

// Completion is a word that may stand where the cursor is.
type Completion struct {
	// Text replaces the word before the cursor.
	Text string
	// Note says what it is, such as the type of a column.
	Note string
	// Group is the heading that it stands under.
	Group string
}

// Catalog is what the server has that can be named. It is a value: it is replaced, never changed.
type Catalog struct {
	// Tables are the tables and views by namespace.
	Tables map[string][]CatalogTable
	// Functions are the names of functions.
	Functions []string
}

// CatalogTable is a table or a view.
type CatalogTable struct {
	Name    string
	Columns []CatalogColumn
}

// CatalogColumn is a column with the name of its type.
type CatalogColumn struct{ Name, Type string }

// Complete lists what may stand at the end of text, the part of a statement that is before the cursor. namespace is the
// one of names without any. The word that is half typed counts without regard to case.
func (c *Catalog) Complete(text, namespace string) []Completion {
	all := spans(text)
	if n := len(all); n > 0 {
		last := all[n-1]
		if last.kind == spanString && last.open || last.kind == spanComment && (last.open || text[last.from] == '-') {
			return nil
		}
	}
	if len(all) > 0 && all[0].kind == spanCommand {
		return c.completeCommand(text, namespace)
	}
	word, qualifier, before := lastWord(text, all)
	x := completer{catalog: c, namespace: namespace, word: strings.ToLower(word), lower: strings.ToUpper(word) != word}
	switch {
	case qualifier != "":
		x.members(qualifier, tablesOf(text))
	case wantsTable(before):
		x.tables("")
	default:
		x.columns(tablesOf(text))
		x.functions()
		x.keywords()
		x.tables("")
	}
	return x.found
}

// completeCommand completes the name of a backslash command, or the table behind it.
func (c *Catalog) completeCommand(text, namespace string) []Completion {
	name, argument, found := strings.Cut(text, " ")
	x := completer{catalog: c, namespace: namespace}
	if !found {
		x.word = strings.ToLower(name)
		for _, m := range commands() {
			for _, n := range m.names {
				x.offer(n, m.help, "commands")
			}
		}
		return x.found
	}
	x.word = strings.ToLower(argument[strings.LastIndexByte(argument, ' ')+1:])
	if space, rest, ok := strings.Cut(x.word, "."); ok {
		x.word = rest
		x.tables(space)
		return x.found
	}
	if name == `\format` {
		for _, f := range strings.Split(formats, ", ") {
			x.offer(f, "", "formats")
		}
		return x.found
	}
	x.tables("")
	return x.found
}

// lastWord is the word at the end of text, the name and dot before it, and the keyword before both.
func lastWord(text string, all []span) (word, qualifier, before string) {
	n := len(all)
	if n > 0 && (all[n-1].kind == spanWord || all[n-1].kind == spanName) {
		word = unquote(text[all[n-1].from:all[n-1].to])
		n--
	}
	if n > 1 && text[all[n-1].from:all[n-1].to] == "." {
		qualifier = unquote(text[all[n-2].from:all[n-2].to])
		n -= 2
		if n > 1 && text[all[n-1].from:all[n-1].to] == "." {
			qualifier = unquote(text[all[n-2].from:all[n-2].to]) + "." + qualifier
			n -= 2
		}
	}
	for n > 0 && all[n-1].kind == spanBlank {
		n--
	}
	if n > 0 {
		before = strings.ToUpper(text[all[n-1].from:all[n-1].to])
		if before == "," {
			before = clauseOf(text, all[:n-1])
		}
	}
	return word, qualifier, before
}

// clauseOf is the keyword that a list with commas belongs to.
func clauseOf(text string, all []span) string {
	depth := 0
	for i := len(all) - 1; i >= 0; i-- {
		switch w := strings.ToUpper(text[all[i].from:all[i].to]); {
		case w == ")":
			depth++
		case w == "(":
			depth--
		case depth == 0 && all[i].kind == spanWord && keywordSet()[w]:
			return w
		}
		if depth < 0 {
			return "("
		}
	}
	return ""
}

// wantsTable tells whether a name of a table follows a keyword.
func wantsTable(keyword string) bool {
	switch keyword {
	case "FROM", "JOIN", "INTO", "UPDATE", "TABLE", "DESCRIBE", "TO", "USING", "ANALYZE":
		return true
	}
	return false
}

// tableRef is a table that a statement names, and what else it is called there.
type tableRef struct{ namespace, name, alias string }

// tablesOf are the tables behind FROM, JOIN, INTO, UPDATE and SUBSCRIBE TO in a text that may be half typed.
func tablesOf(text string) []tableRef {
	var words []string
	for _, s := range spans(text) {
		if s.kind != spanBlank && s.kind != spanComment {
			words = append(words, text[s.from:s.to])
		}
	}
	set := keywordSet()
	var found []tableRef
	for i := 0; i < len(words); i++ {
		if !wantsTable(strings.ToUpper(words[i])) {
			continue
		}
		for i++; i < len(words) && isName(words[i], set); i++ {
			ref := tableRef{name: unquote(words[i])}
			if i+2 < len(words) && words[i+1] == "." {
				ref.namespace, ref.name = ref.name, unquote(words[i+2])
				i += 2
			}
			if i+1 < len(words) && strings.EqualFold(words[i+1], "AS") {
				i++
			}
			if i+1 < len(words) && isName(words[i+1], set) {
				i++
				ref.alias = unquote(words[i])
			}
			found = append(found, ref)
			if i+1 >= len(words) || words[i+1] != "," {
				break
			}
			i++
		}
	}
	return found
}

func isName(word string, keywords map[string]bool) bool {
	return word[0] == '"' || word[0] == '`' || wordByte(word[0]) && !keywords[strings.ToUpper(word)]
}

func unquote(name string) string {
	if name != "" && (name[0] == '"' || name[0] == '`') {
		quote := name[:1]
		return strings.ReplaceAll(strings.TrimSuffix(name[1:], quote), quote+quote, quote)
	}
	return name
}

// completer gathers what begins with a word.
type completer struct {
	catalog   *Catalog
	namespace string
	word      string
	// lower says that the word was begun in small letters, so that keywords go on like that.
	lower bool
	found []Completion
}

// completionsMax bounds what a person is shown.
const completionsMax = 500

func (x *completer) offer(text, note, group string) {
	if len(x.found) < completionsMax && strings.HasPrefix(strings.ToLower(text), x.word) {
		x.found = append(x.found, Completion{Text: quoteName(text, group), Note: note, Group: group})
	}
}

// quoteName puts a name into quotes that SQL would not read as it is.
func quoteName(name, group string) string {
	if group == "keywords" || group == "functions" || group == "commands" || group == "formats" {
		return name
	}
	for i := range len(name) {
		if !wordByte(name[i]) || i == 0 && name[i] >= '0' && name[i] <= '9' {
			return `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
		}
	}
	if keywordSet()[strings.ToUpper(name)] {
		return `"` + name + `"`
	}
	return name
}

// tables offers the tables of a namespace; for "" those that need no namespace, and the namespaces.
func (x *completer) tables(namespace string) {
	wanted := namespace
	if wanted == "" {
		wanted = x.namespace
	}
	for space, tables := range x.catalog.Tables {
		if !strings.EqualFold(space, wanted) {
			continue
		}
		for _, t := range tables {
			x.offer(t.Name, "", "tables")
		}
	}
	if namespace != "" {
		return
	}
	var spaces []string
	for space := range x.catalog.Tables {
		spaces = append(spaces, space)
	}
	slices.Sort(spaces)
	for _, space := range spaces {
		x.offer(space, "", "namespaces")
	}
}

// members offers what may follow a name and a dot: columns of a table, or tables of a namespace.
func (x *completer) members(qualifier string, named []tableRef) {
	for _, ref := range named {
		full := ref.namespace + "." + ref.name
		if strings.EqualFold(ref.alias, qualifier) || ref.alias == "" &&
			(strings.EqualFold(ref.name, qualifier) || strings.EqualFold(full, qualifier)) {
			x.columns([]tableRef{ref})
		}
	}
	x.tables(qualifier)
}

// columns offers the columns of the tables that a statement names.
func (x *completer) columns(named []tableRef) {
	seen := map[string]bool{}
	for _, ref := range named {
		namespace := ref.namespace
		if namespace == "" {
			namespace = x.namespace
		}
		for space, tables := range x.catalog.Tables {
			if !strings.EqualFold(space, namespace) {
				continue
			}
			for _, t := range tables {
				if !strings.EqualFold(t.Name, ref.name) {
					continue
				}
				for _, column := range t.Columns {
					if !seen[column.Name] {
						seen[column.Name] = true
						x.offer(column.Name, strings.ToLower(column.Type), "columns")
					}
				}
			}
		}
	}
}

func (x *completer) functions() {
	if x.word == "" {
		return // there are hundreds
	}
	for _, f := range x.catalog.Functions {
		x.offer(f, "", "functions")
	}
}

// keywords offers keywords in the case that the word was begun in.
func (x *completer) keywords() {
	for _, w := range strings.Fields(keywords) {
		if x.lower {
			w = strings.ToLower(w)
		}
		x.offer(w, "", "keywords")
	}
}
