package manifest

import (
	"fmt"
	"strconv"
	"strings"
)

// Root is the folder of the bucket that holds every tablet; files of other rooms live elsewhere.
const Root = "storage"

// manifestName is the one file of a tablet's folder that is ever replaced.
const manifestName = "manifest.json"

// Dir is the tablet's folder: storage/user/<user>/<namespace>/<table> for a tablet with an owner, else
// storage/shared/<namespace>/<table>, each name escaped by EscapeName so that none leaves its place. The last two are
// the names that the table was made with (Table.FolderName).
func (t Tablet) Dir() string {
	if t.Owner.ID != 0 || t.Owner.Name != "" {
		return UserDir(t.Owner.Name) + "/" + EscapeName(t.Table.FolderNamespace()) + "/" + EscapeName(t.Table.FolderName())
	}
	return Root + "/shared/" + EscapeName(t.Table.FolderNamespace()) + "/" + EscapeName(t.Table.FolderName())
}

// UserDir is the folder that holds all tablets of a user of this name, and nothing else.
func UserDir(name string) string { return Root + "/user/" + EscapeName(name) }

// SegmentFile is the name of a segment's file in a tablet's folder.
func SegmentFile(dir string, id SegmentID) string {
	return fmt.Sprintf("%s/%016x.parquet", dir, uint64(id))
}

// MarkFileName is the name of a segment's mark file of one generation in a tablet's folder.
func MarkFileName(dir string, id SegmentID, generation uint64) string {
	return fmt.Sprintf("%s/%016x.%d.dv", dir, uint64(id), generation)
}

// ParseFile tells which segment a file of a tablet's folder belongs to, given the part of its name after the last
// slash. generation is 0 for the segment itself. ok is false for manifest.json and for names that no function of this
// package makes.
func ParseFile(base string) (id SegmentID, generation uint64, ok bool) {
	if len(base) < 17 || base[16] != '.' {
		return 0, 0, false
	}
	n, err := strconv.ParseUint(base[:16], 16, 64)
	if err != nil || n == 0 || strings.ToLower(base[:16]) != base[:16] {
		return 0, 0, false
	}
	rest := base[17:]
	if rest == "parquet" {
		return SegmentID(n), 0, true
	}
	digits, found := strings.CutSuffix(rest, ".dv")
	if !found {
		return 0, 0, false
	}
	generation, err = strconv.ParseUint(digits, 10, 64)
	if err != nil || generation == 0 || strconv.FormatUint(generation, 10) != digits {
		return 0, 0, false
	}
	return SegmentID(n), generation, true
}

// EscapeName turns any name into one safe path element, and back by UnescapeName: lower-case ASCII letters, digits, `_`
// and `-` stand for themselves, `%xx` for every other byte. So no name leaves its folder or is hidden, and two names
// differ under case folding when they differ at all. Names longer than MaxNameBytes are refused by the catalog: an
// element never passes the 255 bytes of file systems.
func EscapeName(name string) string {
	clean := name != ""
	for i := 0; i < len(name) && clean; i++ {
		clean = plainByte(name[i])
	}
	if clean {
		return name
	}
	if name == "" {
		return "%"
	}
	var b strings.Builder
	for i := 0; i < len(name); i++ {
		if plainByte(name[i]) {
			b.WriteByte(name[i])
		} else {
			fmt.Fprintf(&b, "%%%02x", name[i])
		}
	}
	return b.String()
}

// MaxNameBytes is the longest name of a user, a namespace or a table whose escaped form is a valid file name
// everywhere.
const MaxNameBytes = 80

func plainByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '_' || c == '-'
}

// UnescapeName is the name that EscapeName made the element from; ok is false when it made it from none.
func UnescapeName(element string) (name string, ok bool) {
	if element == "%" {
		return "", true
	}
	var b strings.Builder
	for i := 0; i < len(element); i++ {
		c := element[i]
		if plainByte(c) {
			b.WriteByte(c)
			continue
		}
		if c != '%' || i+2 >= len(element) {
			return "", false
		}
		n, err := strconv.ParseUint(element[i+1:i+3], 16, 8)
		if err != nil || plainByte(byte(n)) {
			return "", false
		}
		b.WriteByte(byte(n))
		i += 2
	}
	return b.String(), element != "" && EscapeName(b.String()) == element
}
