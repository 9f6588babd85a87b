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
	"syscall"
	"time"

	"tulifo/gateway"
)

// door is one port that this process answers on.
type door struct {
	name string
	l    net.Listener
	srv  *http.Server
	lent bool // somebody else answers on it and closes it
}

// doors are all ports of the process. They are opened before anything else starts, so that a busy one is noticed at once.
type doors struct {
	host string
	log  *slog.Logger
	all  []*door
}

// open listens on a port. Its error says what to do when the port is taken.
func (d *doors) open(name string, port int) (*door, error) {
	l, err := net.Listen("tcp", net.JoinHostPort(d.host, strconv.Itoa(port)))
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("port %d, where %s is to listen, is in use by another program; stop that, or move all ports with --port-base 10000", port, name)
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("port %d, where %s is to listen, needs rights that this user does not have; move all ports with --port-base 10000", port, name)
	case err != nil:
		return nil, fmt.Errorf("%s cannot listen on %s port %d: %w", name, d.host, port, err)
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

// serve answers on the door with h; with a certificate over TLS.
func (d *doors) serve(o *door, h http.Handler, cert *tls.Certificate) {
	o.srv = gateway.NewServer(h, d.log)
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

// shut lets requests end, for at most the time given, and closes all ports.
func (d *doors) shut(within time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	var wg sync.WaitGroup
	for _, o := range d.all {
		if o.lent {
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
