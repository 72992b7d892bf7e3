package shell

import (
	"context"
	"time"
)

// wordsQuery lists what can be completed, and wordsTime is how long it may take: a person waits for it.
const (
	wordsQuery = "SELECT table_schema FROM information_schema.tables UNION ALL " +
		"SELECT table_name FROM information_schema.tables UNION ALL " +
		"SELECT name FROM system.functions WHERE name ~ '^[a-z]'"
	wordsTime = 2 * time.Second
	wordsMax  = 10_000
)

// Words are the names of namespaces, tables and functions, for completion.
func (s *Shell) Words() []string { return s.words }

// learn reads the names again. Completion is a comfort: without an answer the old names stay.
func (s *Shell) learn(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, wordsTime)
	defer cancel()
	rows, err := s.o.Conn.Run(ctx, wordsQuery)
	if err != nil {
		return
	}
	words := map[string]bool{}
	for len(words) < wordsMax {
		batch, err := rows.Next()
		if err != nil {
			break
		}
		for _, column := range batch.Columns() {
			for i := range column.Len() {
				words[textOrNull(column, i, false)] = true
			}
		}
		batch.Release()
	}
	if rows.Close() != nil || len(words) == 0 {
		return
	}
	s.words = s.words[:0]
	for w := range words {
		s.words = append(s.words, w)
	}
}

// changesNames tells whether a statement may have changed what can be completed.
func changesNames(statement string) bool {
	switch firstWord(statement) {
	case "CREATE", "DROP", "ALTER", "USE":
		return true
	}
	return false
}
