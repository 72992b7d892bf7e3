package slt

import (
	"regexp"
	"strings"
)

// Translate reads the casts to Arrow's physical types that the corpus is full of as casts to logical types:
// arrow_cast(x, 'LargeUtf8') becomes CAST(x AS TEXT), and arrow_try_cast TRY_CAST. Layouts of one logical type
// (large, view, dictionary, fixed-size) are one; a type whose values no logical type holds, such as UInt64 or Duration,
// stays as it is, and so does arrow_typeof.
func Translate(sql string) string {
	var b strings.Builder
	for {
		at := casts.FindStringIndex(sql)
		if at == nil {
			b.WriteString(sql)
			return b.String()
		}
		args, length, ok := arguments(sql[at[1]:])
		kind, known := "", false
		if ok && len(args) == 2 {
			kind, known = logical(strings.Trim(strings.TrimSpace(args[1]), "'"))
		}
		if !known {
			b.WriteString(sql[:at[1]])
			sql = sql[at[1]:]
			continue
		}
		word := "CAST("
		if strings.Contains(strings.ToLower(sql[at[0]:at[1]]), "try") {
			word = "TRY_CAST("
		}
		b.WriteString(sql[:at[0]] + word + Translate(args[0]) + " AS " + kind + ")")
		sql = sql[at[1]+length:]
	}
}

var casts = regexp.MustCompile(`(?i)\barrow_(?:try_)?cast\s*\(`)

// arguments splits what stands behind an opening parenthesis at the commas up to the closing one, whose end it returns.
func arguments(s string) (args []string, length int, ok bool) {
	depth, start, quote := 0, 0, byte(0)
	for i := range len(s) {
		c := s[i]
		switch {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '\'' || c == '"':
			quote = c
		case c == '(' || c == '[' || c == '{':
			depth++
		case depth == 0 && c == ')':
			return append(args, s[start:i]), i + 1, true
		case c == ')' || c == ']' || c == '}':
			depth--
		case depth == 0 && c == ',':
			args, start = append(args, s[start:i]), i+1
		}
	}
	return nil, 0, false
}

// logical is the SQL type for an Arrow type's name.
func logical(name string) (string, bool) {
	head, rest, nested := strings.Cut(strings.ReplaceAll(name, "nullable ", ""), "(")
	var args []string
	if nested {
		var ok bool
		if args, _, ok = arguments(rest); !ok {
			return "", false
		}
	}
	for i := range args {
		args[i] = strings.TrimSpace(args[i])
	}
	if kind, ok := plainTypes()[head]; ok && !nested {
		return kind, true
	}
	switch {
	case head == "Dictionary" && len(args) == 2:
		return logical(args[1])
	case (strings.HasSuffix(head, "List") || strings.HasSuffix(head, "ListView")) && len(args) > 0:
		elem := args[len(args)-1]
		if _, after, ok := strings.Cut(elem, " x "); ok {
			elem = after
		}
		kind, ok := logical(strings.TrimPrefix(elem, "field: "))
		return kind + "[]", ok
	case strings.HasPrefix(head, "Decimal") && head != "Decimal256" && len(args) == 2:
		return "DECIMAL(" + args[0] + "," + args[1] + ")", true
	case head == "FixedSizeBinary":
		return "BYTES", true
	case head == "Timestamp" && (len(args) == 1 || args[1] == "None"):
		return "TIMESTAMP", true
	case head == "Timestamp" && (strings.Contains(args[1], "UTC") || strings.Contains(args[1], "+00")):
		return "DATETIME", true
	case head == "Time32" || head == "Time64":
		return "TIME", true
	case head == "Interval":
		return "INTERVAL", true
	}
	return "", false
}

func plainTypes() map[string]string {
	return map[string]string{"Boolean": "BOOLEAN", "Int8": "SMALLINT", "Int16": "SMALLINT", "Int32": "INT",
		"Int64": "BIGINT", "UInt8": "SMALLINT", "UInt16": "INT", "UInt32": "BIGINT", "Float32": "FLOAT", "Float64": "DOUBLE",
		"Utf8": "TEXT", "LargeUtf8": "TEXT", "Utf8View": "TEXT", "Binary": "BYTES", "LargeBinary": "BYTES",
		"BinaryView": "BYTES", "Date32": "DATE"}
}
