package server_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kalamflight/internal/fault"
	"kalamflight/internal/server"
)

// A folder for exports that is not there, or is none, is found when the server starts, before it makes anything.
func TestExportFolderMustBeThere(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, exports := range []string{filepath.Join(dir, "none"), file} {
		data := filepath.Join(dir, "data")
		_, err := server.Start(t.Context(), server.Options{DataDir: data, Listen: "127.0.0.1:0", ExportDir: exports})
		if !errors.Is(err, fault.ErrPrecondition) || !strings.Contains(err.Error(), exports) {
			t.Errorf("exports to %s: %v", exports, err)
		}
		if _, err := os.Stat(data); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the data folder was made: %v", err)
		}
	}
}
