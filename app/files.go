package app

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"tulifo/platform/blob"
)

// uploading are the services that keep files which people upload.
var uploading = []string{"user"}

// files is where a service keeps them: S3 where the environment names one, else under the data directory, which its processes then have to share.
func (p parts) files(service string) (blob.Store, error) {
	if p.Files.Endpoint == "" {
		return directory(orDefault("", p.Config), service)
	}
	s, err := blob.NewS3(p.Files, service)
	if err != nil {
		return nil, err
	}
	p.spared["s3"] = s.Ping
	return s, nil
}

func directory(dir, service string) (*blob.Files, error) {
	d, err := openData(dir)
	if err != nil {
		return nil, err
	}
	return blob.NewFiles(d.path("blob/" + service))
}

func (e *environ) files() *cobra.Command {
	c := &cobra.Command{Use: "files", Short: "Files that people uploaded", RunE: group}
	c.AddCommand(
		e.copyFiles("to-s3", "Copy them from the data directory to S3; may be run again", func(d *blob.Files, s *blob.S3) (blob.Source, blob.Store) { return d, s }),
		e.copyFiles("from-s3", "Copy them from S3 to the data directory; may be run again", func(d *blob.Files, s *blob.S3) (blob.Source, blob.Store) { return s, d }))
	return c
}

func (e *environ) copyFiles(use, short string, way func(*blob.Files, *blob.S3) (blob.Source, blob.Store)) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, Args: noArgs, RunE: func(c *cobra.Command, _ []string) error {
		config, err := readConfig(e.vars)
		if err != nil {
			return err
		}
		if config.Files.Endpoint == "" {
			return errors.New("S3_ENDPOINT is not set; it says where the files are to be copied to or from")
		}
		for _, service := range uploading {
			if err := e.copyOf(c.Context(), config, service, way); err != nil {
				return err
			}
		}
		return nil
	}}
}

func (e *environ) copyOf(ctx context.Context, c Config, service string, way func(*blob.Files, *blob.S3) (blob.Source, blob.Store)) error {
	d, err := directory(orDefault(e.dir, c), service)
	if err != nil {
		return err
	}
	defer d.Close()
	s, err := blob.NewS3(c.Files, service)
	if err != nil {
		return err
	}
	from, to := way(d, s)
	n, err := blob.Copy(ctx, from, to)
	fmt.Fprintf(e.out, "%s: %d files are copied.\n", service, n)
	return err
}
