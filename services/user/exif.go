package user

import (
	"bytes"
	"encoding/binary"
	"image"
	"image/color"
)

// bytesAPixel is what a decoded pixel takes at most.
func bytesAPixel(c image.Config) int {
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
