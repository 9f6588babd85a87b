package servertest

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

const (
	minioData     = "data"
	minioUser     = "tulifo-test"
	minioPassword = "not-secret-loopback-only"
)

var minio = &kind{
	name:  "minio",
	ports: 1,
	command: func(dir string, port int) ([]string, error) {
		program, err := tool("minio", "minio", "minio")
		if err != nil {
			return nil, err
		}
		data := filepath.Join(dir, minioData)
		return []string{program, "server", "--quiet", "--address", local(port), data}, os.MkdirAll(data, 0o700)
	},
	env: func(string, int) []string {
		return []string{"MINIO_ROOT_USER=" + minioUser, "MINIO_ROOT_PASSWORD=" + minioPassword, "MINIO_BROWSER=off", "MINIO_UPDATE=off", "MINIO_CI_CD=1"}
	},
	url: func(port int) string { return "http://" + local(port) },
	answers: func(url string, _ int) error {
		client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
		// Its health is well before it knows its users; then nobody may list buckets without a key.
		w, err := client.Get(url)
		if err != nil {
			return err
		}
		defer w.Body.Close()
		if w.StatusCode != http.StatusForbidden {
			return fmt.Errorf("it answers %s", w.Status)
		}
		return nil
	},
}
