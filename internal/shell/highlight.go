package shell

import "strings"

// Colors of the terminal, by the standard's numbers, so that they follow the person's theme.
const (
	colorReset   = "\x1b[0m"
	colorKeyword = "\x1b[1;34m"
	colorString  = "\x1b[32m"
	colorNumber  = "\x1b[36m"
	colorComment = "\x1b[90m"
	colorCommand = "\x1b[35m"
	colorError   = "\x1b[1;31m"
	colorName    = "\x1b[33m"
)

// Highlight colors SQL as it is typed. What is printed has the letters of text and nothing else.
func Highlight(text string) string {
	words := keywordSet()
	var b strings.Builder
	for _, s := range spans(text) {
		piece, color := text[s.from:s.to], ""
		switch s.kind {
		case spanWord:
			if words[strings.ToUpper(piece)] {
				color = colorKeyword
			}
		case spanName:
			color = colorName
		case spanString:
			color = colorString
		case spanNumber:
			color = colorNumber
		case spanComment:
			color = colorComment
		case spanCommand:
			color = colorCommand
		}
		if color == "" {
			b.WriteString(piece)
			continue
		}
		b.WriteString(color + piece + colorReset)
	}
	return b.String()
}

// keywords are colored, and offered as completions.
const keywords = `
ACCESS_LEVEL ADD ALL ALTER ANALYZE AND ANY AS ASC BEGIN BETWEEN BIGINT BOOLEAN BY BYTES CASCADE CASE CAST
CHECK COLUMN COMMIT COMPACT CONFLICT CONSTRAINT CREATE CROSS CURRENT_DATE CURRENT_TIMESTAMP CURRENT_USER DATE
DATETIME DECIMAL DEFAULT DELETE DESC DESCRIBE DISTINCT DO DOUBLE DROP ELSE EMBEDDING END EXCEPT EXCLUDE
EXECUTE EXISTS EXPLAIN EXPORT FALSE FILTER FIRST FLOAT FLUSH FOLLOWING FOR FROM FULL GRANT GROUP GROUPING
HAVING IF ILIKE IN INDEX INNER INSERT INT INTEGER INTERSECT INTERVAL INTO IS JOIN JSON KEY KILL LAST LATERAL
LEFT LIKE LIMIT MODIFY NAMESPACE NAMESPACES NATURAL NOT NOTHING NOW NULL NULLS OF OFFSET ON OPTIONS OR ORDER
OUTER OVER PARTITION PASSWORD POLICY PRECEDING PRIMARY PURGE QUALIFY QUERY RANGE RECURSIVE RELEASE RENAME
REPLACE RETURNING REVOKE RIGHT ROLE ROLLBACK ROLLUP ROW ROWS SAVEPOINT SELECT SEQ SESSION SET SETS SHARED SHOW
SIMILAR SMALLINT SOME STREAM SUBSCRIBE SUBSCRIPTION TABLE TABLES TEMPORARY TEXT THEN TIME TIMESTAMP TO
TRANSACTION TRUE TRUNCATE TTL_SECONDS UNBOUNDED UNDROP UNION UNIQUE UNNEST UP UPDATE USE USER USING UUID
VALUES VARCHAR VIEW WHEN WHERE WINDOW WITH WITHIN`

func keywordSet() map[string]bool {
	set := map[string]bool{}
	for _, w := range strings.Fields(keywords) {
		set[w] = true
	}
	return set
}
