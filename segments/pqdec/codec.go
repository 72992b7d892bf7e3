package pqdec

import (
	"fmt"
	"sync"

	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"

	"kalamflight/internal/fault"
)

// zstdSlack lets the zstd decoder take its fast path to the end of a page.
const zstdSlack = 128<<10 + 64

// Codecs holds the decoders that cost too much to make for each page. The zero value is ready; it is safe for
// concurrent use, and one should be shared by many chunks.
type Codecs struct {
	zstd sync.Pool
}

// maxPage tells how long a page may claim to be: what the codec could at most make of this many bytes, and no more than
// is sane.
func maxPage(codec compress.Compression, compressed int) int {
	const floor, ceiling = 4 << 20, 1 << 30
	ratio := 1
	switch codec {
	case compress.Codecs.Lz4Raw:
		ratio = 256
	case compress.Codecs.Snappy:
		ratio = 64
	case compress.Codecs.Zstd:
		ratio = 4096
	}
	if codec == compress.Codecs.Uncompressed {
		return compressed
	}
	return min(max(floor, ratio*compressed), ceiling)
}

// decompress makes a buffer of exactly want bytes, with Slack behind them, out of src.
func (c *Codecs) decompress(codec compress.Compression, src []byte, want int, alloc memory.Allocator) (*memory.Buffer,
	error) {
	if want > maxPage(codec, len(src)) {
		return nil, corrupt("page of %d bytes claims to hold %d", len(src), want)
	}
	slack := Slack
	if codec == compress.Codecs.Zstd {
		slack = zstdSlack
	}
	buf := memory.NewResizableBuffer(alloc)
	buf.Reserve(want + slack)
	dst := buf.Buf()[:want+slack]
	n, err := c.into(codec, dst, src, want)
	if err == nil && n != want {
		err = fmt.Errorf("%d bytes instead of %d", n, want)
	}
	if err != nil {
		buf.Release()
		return nil, fmt.Errorf("decompress page: %w: %w", err, fault.ErrCorrupt)
	}
	buf.ResizeNoShrink(want)
	return buf, nil
}

func (c *Codecs) into(codec compress.Compression, dst, src []byte, want int) (int, error) {
	switch codec {
	case compress.Codecs.Lz4Raw:
		if want == 0 {
			return 0, nil
		}
		return lz4.UncompressBlock(src, dst[:want])
	case compress.Codecs.Snappy:
		n, err := snappy.DecodedLen(src)
		if err != nil || n != want {
			return n, err
		}
		out, err := snappy.Decode(dst[:want], src)
		return len(out), err
	case compress.Codecs.Zstd:
		d, err := c.zstdDecoder()
		if err != nil {
			return 0, err
		}
		out, err := d.DecodeAll(src, dst[:0])
		c.zstd.Put(d)
		if err == nil && len(out) > want {
			return len(out), nil
		}
		return len(out), err
	}
	return 0, fmt.Errorf("codec %s: %w", codec, fault.ErrUnsupported)
}

func (c *Codecs) zstdDecoder() (*zstd.Decoder, error) {
	if d, ok := c.zstd.Get().(*zstd.Decoder); ok {
		return d, nil
	}
	return zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(false),
		zstd.WithDecodeAllCapLimit(true))
}
