package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"tulifo/gateway"
	"tulifo/platform/api"
	"tulifo/platform/errs"
)

// door is one port that this process answers on.
type door struct {
	name    string
	l       net.Listener
	srv     *http.Server
	handler atomic.Pointer[http.Handler] // nil while the platform starts
	lent    bool                         // somebody else answers on it and closes it
}

// doors are all ports of the process. They are opened before anything else starts, so that a busy one is noticed at once.
type doors struct {
	host string
	log  *slog.Logger
	all  []*door
}

const loopback = "127.0.0.1"

// open listens on a port. Its error says what to do when the port is taken.
func (d *doors) open(name string, port int) (*door, error) { return d.openAt(d.host, name, port) }

func (d *doors) openAt(host, name string, port int) (*door, error) {
	if port < 0 || port > 65535 {
		return nil, usageError{fmt.Errorf("port %d, where %s is to listen, does not exist; the highest is 65535: choose a --port-base such as 10000", port, name)}
	}
	l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("port %d, where %s is to listen, is in use by another program; stop that, or move all ports with --port-base 10000", port, name)
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("port %d, where %s is to listen, needs rights that this user does not have; move all ports with --port-base 10000", port, name)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, fmt.Errorf("%s cannot listen on %s, which is not an address of this machine; set HOST to one that is", name, host)
	case err != nil:
		return nil, fmt.Errorf("%s cannot listen on %s port %d: %w", name, host, port, err)
	}
	door := &door{name: name, l: l}
	d.all = append(d.all, door)
	return door, nil
}

// lend is the listener, for who serves another protocol than HTTP on it and closes it.
func (o *door) lend() net.Listener {
	o.lent = true
	return o.l
}

func (o *door) url() string {
	host, port, _ := net.SplitHostPort(o.l.Addr().String())
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() || ip.IsLoopback() {
		host = "localhost"
	}
	return "http://" + net.JoinHostPort(host, port)
}

var errStarting = errs.New(errs.Unavailable, "The platform is starting. Try again shortly.").After(time.Second)

// ServeHTTP answers with the handler, and 503 until there is one.
func (o *door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h := o.handler.Load(); h != nil {
		(*h).ServeHTTP(w, r)
		return
	}
	api.WriteError(w, r, errStarting)
}

// greet begins to answer on the door, with 503 until serve; with a certificate over TLS.
func (d *doors) greet(o *door, cert *tls.Certificate) {
	o.srv = gateway.NewServer(o, d.log)
	l := o.l
	if cert != nil {
		l = tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{*cert}, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}})
	}
	go func() {
		if err := o.srv.Serve(l); err != nil && !errors.Is(err, http.ErrServerClosed) {
			d.log.Error("a port no longer answers", "door", o.name, "error", err)
		}
	}()
}

// serve answers on the door with h.
func (d *doors) serve(o *door, h http.Handler) {
	o.handler.Store(&h)
	if o.srv == nil {
		d.greet(o, nil)
	}
}

// shut closes doors, all when none are named, and lets the requests on them end for at most the time given.
func (d *doors) shut(within time.Duration, some ...*door) {
	if some == nil {
		some = d.all
	}
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	var wg sync.WaitGroup
	for _, o := range some {
		if o == nil || o.lent {
			continue
		}
		if o.srv == nil {
			o.l.Close()
			continue
		}
		wg.Go(func() {
			if err := o.srv.Shutdown(ctx); err != nil {
				o.srv.Close()
			}
		})
	}
	wg.Wait()
}
