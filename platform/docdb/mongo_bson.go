package docdb

import (
	"encoding/binary"
	"math"
	"strconv"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// open begins a document or list at the end of b; shut ends it.
func open(b []byte) ([]byte, int) { return append(b, 0, 0, 0, 0), len(b) }

func shut(b []byte, from int) []byte {
	b = append(b, 0)
	binary.LittleEndian.PutUint32(b[from:], uint32(len(b)-from))
	return b
}

func appendInt(b []byte, n int64) []byte { return binary.LittleEndian.AppendUint64(b, uint64(n)) }

func appendText[T string | []byte](b []byte, t T) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(len(t)+1))
	return append(append(b, t...), 0)
}

func head(b []byte, typ bson.Type, name string) []byte {
	return append(append(append(b, byte(typ)), name...), 0)
}

// raw is one BSON value on its way into a command: a []byte alone would not say what it is.
type raw = bson.RawValue

var null = raw{Type: bson.TypeNull}

func str(t string) raw  { return raw{Type: bson.TypeString, Value: appendText(nil, t)} }
func whole(n int64) raw { return raw{Type: bson.TypeInt64, Value: appendInt(nil, n)} }

func double(f float64) raw {
	return raw{Type: bson.TypeDouble, Value: appendInt(nil, int64(math.Float64bits(f)))}
}

func truth(is bool) raw {
	if is {
		return raw{Type: bson.TypeBoolean, Value: []byte{1}}
	}
	return raw{Type: bson.TypeBoolean, Value: []byte{0}}
}

// obj is the document of pairs of a name and a raw.
func obj(pairs ...any) raw {
	b, from := open(make([]byte, 0, 64))
	for i := 0; i < len(pairs); i += 2 {
		v := pairs[i+1].(raw)
		b = append(head(b, v.Type, pairs[i].(string)), v.Value...)
	}
	return raw{Type: bson.TypeEmbeddedDocument, Value: shut(b, from)}
}

// arr is the list of vs.
func arr(vs ...raw) raw {
	b, from := open(make([]byte, 0, 64))
	for i, v := range vs {
		b = append(head(b, v.Type, strconv.Itoa(i)), v.Value...)
	}
	return raw{Type: bson.TypeArray, Value: shut(b, from)}
}

// micros is a time as documents have it.
func micros(t time.Time) int64 { return t.Round(time.Microsecond).UnixMicro() }

func quotedTime(b []byte, t time.Time) []byte {
	return append(t.UTC().AppendFormat(append(b, '"'), time.RFC3339Nano), '"')
}

// appendFloat writes as encoding/json does, so that what was read is written alike.
func appendFloat(b []byte, f float64) []byte {
	form := byte('f')
	if abs := math.Abs(f); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		form = 'e'
	}
	b = strconv.AppendFloat(b, f, form, -1, 64)
	if n := len(b); form == 'e' && n > 3 && b[n-4] == 'e' && b[n-3] == '-' && b[n-2] == '0' {
		b = append(b[:n-2], b[n-1])
	}
	return b
}

func appendQuoted(b, t []byte) []byte {
	const digits = "0123456789abcdef"
	b = append(b, '"')
	from := 0
	for i := 0; i < len(t); i++ {
		if c := t[i]; c < ' ' || c == '"' || c == '\\' {
			b = append(b, t[from:i]...)
			if c < ' ' {
				b = append(b, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
			} else {
				b = append(b, '\\', c)
			}
			from = i + 1
		}
	}
	return append(append(b, t[from:]...), '"')
}
