package postgres_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/url"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"tulifo/platform/errs"
	"tulifo/platform/fault"
	"tulifo/platform/postgres"
	"tulifo/platform/postgres/pgtest"
	"tulifo/platform/soak"
)

// A line that turns to garbage, or ends, at any byte of an answer: what comes is right, or it is Unavailable or has taken too long, and the next connection is well.
func TestAnAnswerThatTurnsToGarbage(t *testing.T) {
	address, err := url.Parse(pgtest.Database(t))
	if err != nil {
		t.Fatal(err)
	}
	socket := address.Query()
	line, err := fault.New(filepath.Join(socket.Get("host"), ".s.PGSQL."+socket.Get("port")))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(line.Close)
	address.Host, address.RawQuery = line.Addr(), "sslmode=disable"
	db := pgtest.Open(t, address.String(), "public")
	ask := func() (int64, error) {
		// A length that is garbage is waited for.
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		n, err := postgres.All[int64](ctx, db, `SELECT n::bigint FROM generate_series(1, 60) n WHERE $1 = 'a word'`, "a word")
		sum := int64(0)
		for _, v := range n {
			sum += v
		}
		return sum, err
	}
	good, bad := 0, 0
	r := soak.Rand(t)
	for n := range soak.N(25, 5000) {
		toxic := fault.Toxic{Toward: fault.ToClient, Garbage: true, After: r.Int64N(1500)}
		if n%3 == 0 {
			toxic = fault.Toxic{Toward: fault.ToClient, CutAfter: 1 + r.Int64N(1500)}
		}
		line.Set(toxic)
		for range 3 {
			sum, err := ask()
			switch {
			case err == nil && sum == 1830:
				good++
			case err == nil:
				t.Errorf("%+v: the sum is %d", toxic, sum)
			case errs.KindOf(err) == errs.Unavailable, errs.KindOf(err) == errs.Timeout:
				bad++
			default:
				t.Errorf("%+v: %v (%T)", toxic, err, err)
			}
		}
		line.Set()
		began := time.Now()
		for sum, err := ask(); err != nil || sum != 1830; sum, err = ask() {
			if time.Since(began) > 10*time.Second {
				t.Fatalf("%+v: it does not come back: %d %v", toxic, sum, err)
			}
		}
	}
	if good == 0 || bad == 0 {
		t.Errorf("%d answers were good and %d bad: the line does nothing", good, bad)
	}
}

// A row of which only the number of its values, or the length of one, is garbage: that is no fault of who asked.
func TestARowThatIsNotAsItWasDescribed(t *testing.T) {
	t.Parallel()
	address, err := url.Parse(pgtest.Database(t))
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(address.Query().Get("host"), ".s.PGSQL."+address.Query().Get("port"))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	const count, length, value = "\x00\x01", "\x00\x00\x00\x08", "\x01\x23\x45\x67\x89\xab\xcd\xef"
	var garbage atomic.Value // what comes instead of the count and the length
	garbage.Store(count + length)
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer client.Close()
				server, err := net.Dial("unix", socket)
				if err != nil {
					t.Error(err)
					return
				}
				defer server.Close()
				go func() { _, _ = io.Copy(server, client) }()
				for b := make([]byte, 64<<10); ; {
					n, err := server.Read(b)
					if err != nil {
						return
					}
					_, _ = client.Write(bytes.ReplaceAll(b[:n], []byte(count+length+value), []byte(garbage.Load().(string)+value)))
				}
			}()
		}
	}()
	address.Host, address.RawQuery = l.Addr().String(), "sslmode=disable"
	db := pgtest.Open(t, address.String(), "public")
	const sent = int64(0x0123456789abcdef)
	ask := func() (int64, error) { return postgres.One[int64](t.Context(), db, `SELECT $1::bigint`, sent) }
	if n, err := ask(); n != sent || err != nil {
		t.Fatalf("a good line: %x, %v", n, err)
	}
	for _, bad := range []string{"\x00\x00" + length, count + "\x00\x00\x00\x06"} {
		garbage.Store(bad)
		if n, err := ask(); errs.KindOf(err) != errs.Unavailable {
			t.Errorf("%q: %x, %v (%T)", bad, n, err, err)
		}
	}
	if n, err := postgres.One[int64](t.Context(), db, `SELECT NULL::bigint`); errs.KindOf(err) != errs.Internal {
		t.Errorf("a value that is not there is our fault: %d, %v", n, err)
	}
}
