// Package pqdec decodes the pages of one Parquet column chunk into Arrow arrays: all encodings and codecs that common
// writers use for flat columns and for fixed-size lists of floats, with pooled buffers, without copies where the bytes
// allow it, and with dictionary codes kept. The footer is somebody else's business (arrow-go's metadata package): pqdec
// gets bytes and a description of the column. Bytes that break the format are fault.ErrCorrupt, never a panic, and
// never make it allocate much more than their own length.
package pqdec
