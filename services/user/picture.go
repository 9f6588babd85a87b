package user

import (
	"bytes"
	"context"
	"encoding/binary"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"io"
	"net/http"

	"golang.org/x/image/draw"
)

// decoder looks at what the bytes are, whatever they are called, and at how much they would become, before any of it is decoded.
func decoder(upload []byte) (func(io.Reader) (image.Image, error), error) {
	var (
		config image.Config
		decode func(io.Reader) (image.Image, error)
		err    error
	)
	switch http.DetectContentType(upload) {
	case "image/jpeg":
		config, err = jpeg.DecodeConfig(bytes.NewReader(upload))
		decode = jpeg.Decode
		if bytes.Count(upload, []byte{0xff, 0xda}) > maxScans {
			return nil, errBroken
		}
	case "image/png":
		config, err = png.DecodeConfig(bytes.NewReader(upload))
		decode = png.Decode
	default:
		return nil, errNotPicture
	}
	if err != nil {
		return nil, errBroken.Because(err)
	}
	if config.Width < 1 || config.Height < 1 {
		return nil, errBroken
	}
	if config.Width > maxSide || config.Height > maxSide || config.Width*config.Height*bytesAPixel(config, upload) > maxDecoded {
		return nil, errHuge
	}
	return decode, nil
}

// bytesAPixel is what a pixel takes at most while it is decoded.
func bytesAPixel(c image.Config, picture []byte) int {
	if bytes.HasPrefix(picture, []byte{0xff, 0xd8}) && bytes.Contains(picture, []byte{0xff, 0xc2}) {
		// A progressive JPEG: the decoder keeps four bytes of each component until the last scan.
		return 16
	}
	switch c.ColorModel {
	case color.RGBA64Model, color.NRGBA64Model:
		return 8
	case color.Gray16Model:
		return 2
	case color.GrayModel:
		return 1
	case color.YCbCrModel:
		return 3
	}
	if _, ok := c.ColorModel.(color.Palette); ok {
		return 1
	}
	return 4
}

// untilDone ends with its context, so that nobody decodes for who has gone.
type untilDone struct {
	ctx context.Context
	r   io.Reader
}

func (u *untilDone) Read(p []byte) (int, error) {
	if err := u.ctx.Err(); err != nil {
		return 0, err
	}
	return u.r.Read(p)
}

// square is the middle of the picture, at most avatarSide wide.
func square(in image.Image) *image.NRGBA {
	b := in.Bounds()
	side := min(b.Dx(), b.Dy())
	middle := image.Rect(0, 0, side, side).Add(b.Min).Add(image.Pt((b.Dx()-side)/2, (b.Dy()-side)/2))
	if pixels, ok := in.(image.RGBA64Image); ok && side >= 4*avatarSide {
		in = shrunk(pixels, middle, side/(2*avatarSide))
		middle = in.Bounds()
		side = middle.Dx()
	}
	out := image.NewNRGBA(image.Rect(0, 0, min(side, avatarSide), min(side, avatarSide)))
	draw.BiLinear.Scale(out, out.Bounds(), in, middle, draw.Src, nil)
	return out
}

// shrunk makes one pixel of each by × by of the area. The scaler alone would need more memory for a large picture than the picture itself.
func shrunk(in image.RGBA64Image, area image.Rectangle, by int) *image.RGBA64 {
	out := image.NewRGBA64(image.Rect(0, 0, area.Dx()/by, area.Dy()/by))
	for y := range out.Rect.Dy() {
		for x := range out.Rect.Dx() {
			var r, g, b, a uint64
			for dy := range by {
				for dx := range by {
					c := in.RGBA64At(area.Min.X+x*by+dx, area.Min.Y+y*by+dy)
					r, g, b, a = r+uint64(c.R), g+uint64(c.G), b+uint64(c.B), a+uint64(c.A)
				}
			}
			n := uint64(by * by)
			out.SetRGBA64(x, y, color.RGBA64{R: uint16(r / n), G: uint16(g / n), B: uint16(b / n), A: uint16(a / n)})
		}
	}
	return out
}

// orientation is how a camera was held, 1 to 8 as EXIF has it; 1, upright, when the picture does not say.
func orientation(picture []byte) int {
	segment := picture
	for len(segment) > 4 {
		if segment[0] != 0xff {
			return 1
		}
		marker := segment[1]
		if marker == 0xd8 {
			segment = segment[2:]
			continue
		}
		size := int(binary.BigEndian.Uint16(segment[2:])) + 2
		if marker == 0xda || size < 4 || size > len(segment) {
			return 1
		}
		if body := segment[4:size]; marker == 0xe1 && bytes.HasPrefix(body, []byte("Exif\x00\x00")) {
			return orientationOf(body[6:])
		}
		segment = segment[size:]
	}
	return 1
}

// orientationOf reads the first directory of a TIFF structure.
func orientationOf(tiff []byte) int {
	if len(tiff) < 8 {
		return 1
	}
	var order binary.ByteOrder = binary.BigEndian
	if tiff[0] == 'I' {
		order = binary.LittleEndian
	}
	at := int64(order.Uint32(tiff[4:]))
	if at+2 > int64(len(tiff)) {
		return 1
	}
	entries := tiff[at+2:]
	for range order.Uint16(tiff[at:]) {
		if len(entries) < 12 {
			return 1
		}
		if order.Uint16(entries) == 0x0112 {
			if v := int(order.Uint16(entries[8:])); v >= 1 && v <= 8 {
				return v
			}
			return 1
		}
		entries = entries[12:]
	}
	return 1
}

// upright turns a square so that what was up is up.
func upright(in *image.NRGBA, orientation int) *image.NRGBA {
	if orientation == 1 {
		return in
	}
	n := in.Rect.Dx()
	out := image.NewNRGBA(in.Rect)
	for y := range n {
		for x := range n {
			fromX, fromY := x, y
			switch orientation {
			case 2:
				fromX = n - 1 - x
			case 3:
				fromX, fromY = n-1-x, n-1-y
			case 4:
				fromY = n - 1 - y
			case 5:
				fromX, fromY = y, x
			case 6:
				fromX, fromY = y, n-1-x
			case 7:
				fromX, fromY = n-1-y, n-1-x
			case 8:
				fromX, fromY = n-1-y, x
			}
			out.SetNRGBA(x, y, in.NRGBAAt(fromX, fromY))
		}
	}
	return out
}
