package user_test

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/api/apitest"
	"tulifo/platform/blob"
	"tulifo/platform/postgres"
	"tulifo/services/user"
)

// halves is a picture whose left half is red and whose right half is blue, with a margin at its long ends that a square leaves out.
func halves(w, h int, alpha uint8) image.Image {
	p := image.NewNRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			c := color.NRGBA{R: 255, A: alpha}
			if x >= w/2 {
				c = color.NRGBA{B: 255, A: alpha}
			}
			p.SetNRGBA(x, y, c)
		}
	}
	return p
}

// large is halves, quickly made.
func large(w, h int) image.Image {
	p := image.NewYCbCr(image.Rect(0, 0, w, h), image.YCbCrSubsampleRatio420)
	for i := range p.Y {
		p.Y[i] = 80
	}
	for i := range p.Cb {
		p.Cb[i], p.Cr[i] = 90, 240
		if i%p.CStride >= p.CStride/2 {
			p.Cb[i], p.Cr[i] = 240, 110
		}
	}
	return p
}

func pngOf(p image.Image) []byte {
	var b bytes.Buffer
	_ = png.Encode(&b, p)
	return b.Bytes()
}

func jpegOf(p image.Image) []byte {
	var b bytes.Buffer
	_ = jpeg.Encode(&b, p, &jpeg.Options{Quality: 95})
	return b.Bytes()
}

// tilted is a JPEG whose EXIF says how the camera was held, with a secret beside it.
func tilted(p image.Image, orientation byte) []byte {
	raw := jpegOf(p)
	tiff := append([]byte("II*\x00\x08\x00\x00\x00\x01\x00\x12\x01\x03\x00\x01\x00\x00\x00"), orientation, 0, 0, 0, 0, 0, 0, 0)
	body := append(append([]byte("Exif\x00\x00"), tiff...), "GPS: home of Ada"...)
	segment := append([]byte{0xff, 0xe1, 0, 0}, body...)
	binary.BigEndian.PutUint16(segment[2:], uint16(len(body)+2))
	return append(append(append([]byte{}, raw[:2]...), segment...), raw[2:]...)
}

// header is a PNG that only says how large it is.
func header(w, h uint32, depth, kind byte) []byte {
	var b bytes.Buffer
	b.WriteString("\x89PNG\r\n\x1a\n")
	chunk := func(name string, data []byte) {
		_ = binary.Write(&b, binary.BigEndian, uint32(len(data)))
		sum := crc32.NewIEEE()
		_, _ = sum.Write(append([]byte(name), data...))
		b.WriteString(name)
		b.Write(data)
		_ = binary.Write(&b, binary.BigEndian, sum.Sum32())
	}
	size := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, w), h)
	chunk("IHDR", append(size, depth, kind, 0, 0, 0))
	chunk("IDAT", []byte{0x78, 0x9c, 3, 0, 0, 0, 0, 1})
	chunk("IEND", nil)
	return b.Bytes()
}

func TestAvatar(t *testing.T) {
	w := start(t)
	ada, bob := w.join("worker", "ada"), w.join("client", "bob")
	mine, public := "/api/users/me/avatar", "/api/users/"+ada.id.String()+"/avatar"
	send := func(what string, body []byte, status int) apitest.Answer {
		return w.Call(apitest.Call{What: what, As: ada.token, Method: "PUT", Path: mine, Body: body, Header: map[string]string{"Content-Type": "image/png"}, Status: status})
	}
	w.Call(apitest.Call{What: "none yet", Path: public, Status: 404})

	var profile user.Profile
	send("a wide JPEG", jpegOf(halves(1600, 900, 255)), 200).Data(&profile)
	a := w.Call(apitest.Call{What: "anybody sees it", Path: profile.AvatarURL, Status: 200})
	for name, want := range map[string]string{"Content-Type": "image/jpeg", "X-Content-Type-Options": "nosniff", "Content-Disposition": "inline",
		"Content-Security-Policy": "default-src 'none'; sandbox", "Cache-Control": "public, max-age=31536000, immutable"} {
		if got := a.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	got, err := jpeg.Decode(bytes.NewReader(a.Body))
	if err != nil || got.Bounds() != image.Rect(0, 0, 512, 512) {
		t.Fatalf("%v, %v", got.Bounds(), err)
	}
	if r, _, b, _ := got.At(10, 256).RGBA(); r < b {
		t.Error("the left is not red")
	}
	if again := w.Do(apitest.Call{Path: public, Header: map[string]string{"If-None-Match": a.Header.Get("ETag")}}); again.Status != 304 || len(again.Body) != 0 {
		t.Errorf("known already: %d with %d bytes", again.Status, len(again.Body))
	}
	if plain := w.Do(apitest.Call{Path: public}); plain.Header.Get("Cache-Control") != "public, max-age=300" {
		t.Errorf("without its name it is kept: %s", plain.Header.Get("Cache-Control"))
	}

	send("a small PNG that one sees through", pngOf(halves(100, 300, 100)), 200).Data(&profile)
	a = w.Call(apitest.Call{What: "it stays small and clear", Path: profile.AvatarURL, Status: 200})
	if c, err := png.DecodeConfig(bytes.NewReader(a.Body)); err != nil || c.Width != 100 || c.Height != 100 {
		t.Errorf("%+v, %v", c, err)
	}

	send("a large one", jpegOf(large(2400, 2100)), 200).Data(&profile)
	a = w.Call(apitest.Call{What: "it is small", Path: profile.AvatarURL, Status: 200})
	if got, err = jpeg.Decode(bytes.NewReader(a.Body)); err != nil || got.Bounds().Dx() != 512 {
		t.Fatalf("%v", err)
	}
	if r, _, b, _ := got.At(200, 256).RGBA(); r < b {
		t.Error("the left is not red")
	}

	send("a camera held upright", tilted(halves(640, 640, 255), 6), 200).Data(&profile)
	a = w.Call(apitest.Call{What: "the camera's picture", Path: profile.AvatarURL, Status: 200, HasNot: "GPS"})
	if got, err = jpeg.Decode(bytes.NewReader(a.Body)); err != nil {
		t.Fatal(err)
	}
	top, _, _, _ := got.At(256, 20).RGBA()
	if _, _, bottom, _ := got.At(256, 490).RGBA(); top < 0xc000 || bottom < 0xc000 {
		t.Error("the picture lies on its side")
	}
	if strings.Contains(string(a.Body), "Exif") {
		t.Error("what the camera said is served")
	}

	w.Calls(
		apitest.Call{What: "a stranger", As: bob.token, Method: "PUT", Path: public, Body: pngOf(halves(9, 9, 255)), Status: 404},
		apitest.Call{What: "nobody", Method: "PUT", Path: public, Body: pngOf(halves(9, 9, 255)), Status: 401},
		apitest.Call{What: "a stranger takes it away", As: bob.token, Method: "DELETE", Path: public, Status: 404},
		apitest.Call{What: "taken away", As: ada.token, Method: "DELETE", Path: mine, Status: 200, Has: `"avatarUrl":""`},
		apitest.Call{What: "gone", Path: public, Status: 404},
	)
}

func TestHostilePictures(t *testing.T) {
	w := start(t)
	ada := w.join("worker", "ada")
	var moving bytes.Buffer
	_ = gif.Encode(&moving, halves(20, 20, 255), nil)
	good := pngOf(halves(50, 50, 255))
	scans := jpegOf(halves(64, 64, 255))
	for range 200 {
		scans = append(scans[:len(scans)-2], 0xff, 0xda, 0, 8, 1, 1, 0, 0, 63, 0, 0xff, 0xd9)
	}
	for what, c := range map[string]struct {
		body   []byte
		status int
	}{
		"nothing":                           {[]byte{}, 0},
		"SVG":                               {[]byte(`<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>`), 415},
		"SVG as XML":                        {[]byte(`<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>`), 415},
		"HTML":                              {[]byte(`<!DOCTYPE html><script>alert(1)</script>`), 415},
		"GIF":                               {moving.Bytes(), 415},
		"GIF with a script":                 {[]byte("GIF89a/*" + strings.Repeat("x", 50) + "*/=1;alert(1)"), 415},
		"a program":                         {[]byte("\x7fELF" + strings.Repeat("x", 100)), 415},
		"an archive":                        {[]byte("PK\x03\x04" + strings.Repeat("x", 100)), 415},
		"a PNG of 100 megapixels":           {header(10_000, 10_000, 8, 6), 422},
		"a PNG of a hundred million a side": {header(100_000_000, 100_000_000, 8, 6), 422},
		"a PNG of one line":                 {header(1<<31-1, 1, 8, 0), 422},
		"a deep PNG":                        {header(5000, 5000, 16, 6), 422},
		"a PNG without pixels":              {header(0, 0, 8, 6), 422},
		"a PNG that promises more":          {header(2000, 2000, 8, 6), 422},
		"a PNG cut off":                     {good[:len(good)/2], 422},
		"a PNG cut in its header":           {good[:20], 422},
		"a JPEG cut off":                    {jpegOf(halves(500, 500, 255))[:900], 422},
		"a JPEG of two bytes and noise":     {append([]byte{0xff, 0xd8, 0xff}, bytes.Repeat([]byte{0xff}, 500)...), 422},
		"a JPEG of countless scans":         {scans, 422},
		"more than the limit":               {append(good, make([]byte, 9<<20)...), 413},
	} {
		for _, kind := range []string{"image/png", "image/svg+xml", "text/html", "application/json", ""} {
			if len(c.body) > 1<<20 && kind != "image/png" {
				continue
			}
			a := w.Do(apitest.Call{As: w.Token("client", uuid.New()), Method: "PUT", Path: "/api/users/me/avatar", Body: c.body, Header: map[string]string{"Content-Type": kind}})
			if c.status != 0 && a.Status != c.status || a.Status < 400 || a.Status >= 500 {
				t.Errorf("%s as %q: %s", what, kind, a)
			}
		}
	}
	fay := w.Token("client", uuid.New())
	for i := range 25 {
		want := 415
		if i >= 20 {
			want = 429
		}
		if a := w.Call(apitest.Call{What: "again and again", As: fay, Method: "PUT", Path: "/api/users/me/avatar", Body: "GIF89a", Status: want}); want == 429 && a.Header.Get("Retry-After") == "" {
			t.Error("nobody says when to come back")
		}
	}
	for what, body := range map[string][]byte{
		"a PNG with a page behind it":  append(bytes.Clone(good), `<script>alert(1)</script>`...),
		"a JPEG with a page behind it": append(jpegOf(halves(50, 50, 255)), `<script>alert(1)</script>`...),
		"a JPEG with a page within":    append(append([]byte("\xff\xd8\xff\xfe\x00\x1b<script>alert(1)</script>"), jpegOf(halves(50, 50, 255))[2:]...), 0),
	} {
		var p user.Profile
		w.Call(apitest.Call{What: what, As: ada.token, Method: "PUT", Path: "/api/users/me/avatar", Body: body, Header: map[string]string{"Content-Type": "image/png"}, Status: 200}).Data(&p)
		w.Call(apitest.Call{What: what + " is drawn anew", Path: p.AvatarURL, Status: 200, HasNot: "script"})
	}
}

// Pictures that nobody shows any more are swept; one that somebody shows stays.
func TestOldPicturesGo(t *testing.T) {
	w := start(t)
	ada, bob := w.join("worker", "ada"), w.join("client", "bob")
	first, second := pngOf(halves(30, 30, 255)), pngOf(halves(40, 40, 255))
	var all sync.WaitGroup
	for range 6 {
		all.Go(func() {
			w.Call(apitest.Call{What: "many at once", As: ada.token, Method: "PUT", Path: "/api/users/me/avatar", Body: first, Status: 200})
		})
	}
	all.Wait()
	w.Call(apitest.Call{What: "the same by another", As: bob.token, Method: "PUT", Path: "/api/users/me/avatar", Body: first, Status: 200})
	w.Call(apitest.Call{What: "another", As: ada.token, Method: "PUT", Path: "/api/users/me/avatar", Body: second, Status: 200})
	kept := func() []string {
		names, err := postgres.All[string](t.Context(), w.db, `SELECT avatar FROM user_profiles WHERE avatar <> '' ORDER BY 1`)
		if err != nil {
			t.Fatal(err)
		}
		return names
	}
	if len(kept()) != 2 {
		t.Fatalf("%v", kept())
	}
	age := func() {
		for _, name := range kept() {
			long := time.Now().Add(-2 * blob.Keep)
			if err := os.Chtimes(filepath.Join(w.dir, name[:2], name), long, long); err != nil {
				t.Fatal(err)
			}
		}
	}
	age()
	w.Call(apitest.Call{What: "bob takes his away", As: bob.token, Method: "DELETE", Path: "/api/users/me/avatar", Status: 200})
	if err := w.user.Sweep(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(w.dir, "*", "*.jpg"))
	if err != nil || len(left) != 1 || filepath.Base(left[0]) != kept()[0] {
		t.Errorf("%v are left, %v", left, err)
	}
	w.Call(apitest.Call{What: "what is shown stays", Path: "/api/users/" + ada.id.String() + "/avatar", Status: 200})
	w.Call(apitest.Call{What: "of nobody", Path: "/api/users/" + uuid.NewString() + "/avatar", Status: 404})
}

func FuzzPicture(f *testing.F) {
	f.Add(pngOf(halves(20, 30, 200)))
	f.Add(tilted(halves(20, 30, 255), 5))
	f.Add(header(5, 5, 8, 6))
	f.Fuzz(func(t *testing.T, upload []byte) {
		kind, drawn, err := user.Draw(t.Context(), upload)
		if err != nil {
			return
		}
		if c, format, err := image.DecodeConfig(bytes.NewReader(drawn)); err != nil || "image/"+format != kind || c.Width != c.Height || c.Width > 512 {
			t.Errorf("%s: %+v %s %v", kind, c, format, err)
		}
	})
}

func BenchmarkPicture(b *testing.B) {
	for name, upload := range map[string][]byte{"JPEG 12MP": jpegOf(large(4000, 3000)), "JPEG 48MP": jpegOf(large(8000, 6000)), "PNG 12MP": pngOf(large(4000, 3000))} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := user.Draw(b.Context(), upload); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
