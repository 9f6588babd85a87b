package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"time"
)

// Ports of the opponents, all on loopback.
const (
	expressPort = 22100
	nginxPort   = 22201
	caddyPort   = 22202
	proxyPort   = 22203
)

// express starts the reference on a port, and answers when it does.
func (b *bench) express(ctx context.Context, port int) (*process, error) {
	dir := filepath.Join("bench", "reference")
	if _, err := os.Stat(filepath.Join(dir, "node_modules")); err != nil {
		install := exec.CommandContext(ctx, "npm", "ci", "--silent")
		install.Dir, install.Stderr = dir, os.Stderr
		if err := install.Run(); err != nil {
			return nil, fmt.Errorf("install the reference's packages: %w", err)
		}
	}
	if err := b.exec(ctx, `CREATE SCHEMA IF NOT EXISTS reference`); err != nil {
		return nil, err
	}
	if err := b.exec(ctx, `CREATE TABLE IF NOT EXISTS reference.sessions (id uuid PRIMARY KEY, user_id uuid NOT NULL, token_hash bytea NOT NULL, expires_at timestamptz NOT NULL)`); err != nil {
		return nil, err
	}
	env := append(b.libpq(), "PORT="+strconv.Itoa(port), "JWT_SECRET="+b.env["JWT_SECRET"], "NODE_ENV=production")
	p, err := b.start("express-"+strconv.Itoa(port), env, "node", filepath.Join(dir, "server.js"))
	if err != nil {
		return nil, err
	}
	return p, p.answers(ctx, port)
}

// answers waits until something speaks HTTP on the port.
func (p *process) answers(ctx context.Context, port int) error {
	client := newClient(1)
	defer client.CloseIdleConnections()
	return p.until(ctx, 20*time.Second, func() bool {
		status, _, err := send(ctx, client, call{method: http.MethodGet, url: local(port, "/api/bookings")})
		return err == nil && status != http.StatusServiceUnavailable && status != http.StatusBadGateway
	})
}

func local(port int, path string) string { return "http://127.0.0.1:" + strconv.Itoa(port) + path }

// nginx is a bare proxy in front of a port of this machine, with connections kept alive.
func (b *bench) nginx(ctx context.Context, upstream int) (*process, error) {
	conf := fmt.Sprintf(`daemon off; user root; worker_processes auto; pid %[1]s/nginx.pid; error_log %[1]s/nginx.error.log;
events { worker_connections 1024; }
http {
  access_log off; keepalive_requests 10000000; client_body_temp_path %[1]s; proxy_temp_path %[1]s; fastcgi_temp_path %[1]s; uwsgi_temp_path %[1]s; scgi_temp_path %[1]s;
  upstream service { server 127.0.0.1:%[2]d; keepalive 64; keepalive_requests 10000000; }
  server { listen 127.0.0.1:%[3]d; location / { proxy_pass http://service; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host; } }
}
`, b.dir, upstream, nginxPort)
	if err := os.WriteFile(b.path("nginx.conf"), []byte(conf), 0o644); err != nil {
		return nil, err
	}
	p, err := b.start("nginx", nil, "nginx", "-p", b.dir, "-c", b.path("nginx.conf"))
	if err != nil {
		return nil, err
	}
	return p, p.answers(ctx, nginxPort)
}

// caddy is a bare reverse proxy in front of a port of this machine.
func (b *bench) caddy(ctx context.Context, upstream int) (*process, error) {
	conf := fmt.Sprintf("{\n\tadmin off\n\tauto_https off\n}\nhttp://127.0.0.1:%d {\n\tbind 127.0.0.1\n\treverse_proxy 127.0.0.1:%d\n}\n", caddyPort, upstream)
	if err := os.WriteFile(b.path("Caddyfile"), []byte(conf), 0o644); err != nil {
		return nil, err
	}
	p, err := b.start("caddy", []string{"XDG_DATA_HOME=" + b.dir, "XDG_CONFIG_HOME=" + b.dir}, "caddy", "run", "--adapter", "caddyfile", "--config", b.path("Caddyfile"))
	if err != nil {
		return nil, err
	}
	return p, p.answers(ctx, caddyPort)
}

// reverseProxy is this program again, as the proxy of net/http and nothing else.
func (b *bench) reverseProxy(ctx context.Context, upstream int) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p, err := b.start("reverseproxy", nil, self, "-proxy", local(upstream, ""))
	if err != nil {
		return nil, err
	}
	return p, p.answers(ctx, proxyPort)
}

// proxy serves net/http's ReverseProxy, with as much garbage and as many idle connections as the platform has, until ctx ends.
func proxy(ctx context.Context, to string) error {
	u, err := url.Parse(to)
	if err != nil {
		return err
	}
	debug.SetGCPercent(300)
	s := &http.Server{Addr: "127.0.0.1:" + strconv.Itoa(proxyPort), ReadHeaderTimeout: 10 * time.Second, Handler: &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(u); r.Out.Host = r.In.Host },
		Transport: &http.Transport{MaxIdleConnsPerHost: 256, DisableCompression: true},
	}}
	go func() { <-ctx.Done(); _ = s.Close() }()
	if err := s.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// split starts the gateway in a process of its own, in front of the platform's services.
func (b *bench) split(ctx context.Context) (*process, int, error) {
	const port = 22300
	env := []string{"GATEWAY_OVERLAY=" + b.path("overlay.yml"), "LOG_LEVEL=warn", "HOST=127.0.0.1", "PUBLIC_URL=" + local(port, ""),
		"DATABASE_URL=" + b.database.String(), "TULIFO_DATA=" + b.path("split")}
	for name, port := range map[string]int{"AUTH": 3001, "USER": 3002, "PAYMENT": 3004, "NOTIFICATION": 3006, "BOOKING": 3007, "ESCROW": 3012, "REVIEW": 3014} {
		env = append(env, name+"_SERVICE_URL="+b.at(port, ""))
	}
	for name, value := range b.env {
		env = append(env, name+"="+value)
	}
	p, err := b.start("gateway", env, b.binary, "serve", "gateway", "--port-base", strconv.Itoa(port-8000))
	if err != nil {
		return nil, 0, err
	}
	return p, port, p.answers(ctx, port)
}
