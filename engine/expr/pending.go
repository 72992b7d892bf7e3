package expr

import "time"

func appendJSON(dst []byte, v *Vector, i int, zone *time.Location) []byte { return appendText(dst, v, i, zone) }
func appendUnquoted(dst, b []byte) []byte                                { return append(dst, b...) }
func concatenation(*binding) (kernel, error)                              { return nil, nil }
func stringLibrary() map[string]maker                                     { return nil }
func patternLibrary() map[string]maker                                    { return nil }
func timeLibrary() map[string]maker                                       { return nil }
func jsonLibrary() map[string]maker                                       { return nil }
func systemLibrary() map[string]maker                                     { return nil }
func listLibrary() map[string]maker                                       { return nil }
