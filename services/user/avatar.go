package user

import (
	"bytes"
	"context"
	"fmt"
	"image/jpeg"
	"image/png"
	"io"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/blob"
	"tulifo/platform/errs"
	"tulifo/platform/postgres"
	"tulifo/platform/token"
)

const (
	maxUploads = 20          // an hour and sender
	maxUpload  = 8 << 20     // bytes; the gateway lets as much through
	maxDecoded = 192_000_000 // bytes in memory; 48 megapixels of most PNGs, 12 of a progressive JPEG
	maxSide    = 12_000      // pixels
	maxScans   = 100         // of a JPEG; each may touch every pixel, and good ones have ten
	avatarSide = 512         // pixels
	maxAvatar  = 2 << 20     // bytes of what is drawn
)

var (
	errNoPicture  = errs.New(errs.NotFound, "There is no picture.")
	errNotPicture = errs.New(errs.Unsupported, "Send a JPEG or PNG picture.")
	errBroken     = errs.Field("picture", "cannot be read as a whole")
	errHuge       = errs.Field("picture", "has too many pixels")
)

// avatarURL is where the picture is, below the platform's origin; it is another one for another picture.
func (p person) avatarURL() string {
	if p.Avatar == "" {
		return ""
	}
	return "/api/users/" + p.UserID.String() + "/avatar?v=" + p.Avatar[:16]
}

// SetAvatar draws the upload anew as a square of at most 512 pixels and shows it as the user's picture, for the user or an admin.
// NotFound: there is none, or by is somebody else. Unsupported: it is neither JPEG nor PNG. Invalid: it is broken or has too many pixels.
// TooMany: by has sent too many within an hour, or many pictures wait.
func (s *Service) SetAvatar(ctx context.Context, by token.Caller, id uuid.UUID, upload []byte) (Profile, error) {
	if err := own(by, id); err != nil {
		return Profile{}, err
	}
	if err := s.mayUpload(ctx, by); err != nil {
		return Profile{}, err
	}
	kind, drawn, err := s.draw(ctx, upload)
	if err != nil {
		return Profile{}, err
	}
	ref, _, err := s.pictures.Put(ctx, kind, bytes.NewReader(drawn), maxAvatar)
	if err != nil {
		return Profile{}, fmt.Errorf("keep a picture: %w", err)
	}
	return s.showAvatar(ctx, by, id, string(ref))
}

// mayUpload counts an upload, which costs up to some seconds of a core.
func (s *Service) mayUpload(ctx context.Context, by token.Caller) error {
	left, reset, err := s.counts.Allow(ctx, "user:avatar:"+by.ID.String(), maxUploads, time.Hour)
	if err != nil {
		return errs.New(errs.Unavailable, "Pictures cannot be taken at the moment. Try again shortly.").Because(err)
	}
	if left < 0 {
		return errs.New(errs.TooMany, "You have sent many pictures. Try again later.").After(time.Until(reset))
	}
	return nil
}

// DropAvatar shows no picture any more. NotFound: there is no such user, or by is somebody else.
func (s *Service) DropAvatar(ctx context.Context, by token.Caller, id uuid.UUID) (Profile, error) {
	if err := own(by, id); err != nil {
		return Profile{}, err
	}
	return s.showAvatar(ctx, by, id, "")
}

func (s *Service) showAvatar(ctx context.Context, by token.Caller, id uuid.UUID, ref string) (Profile, error) {
	p, err := s.edit(ctx, id, func(tx postgres.Tx, p *person) error {
		p.Avatar = ref
		return byAdmin(ctx, tx, by, id, "avatar.changed", nil)
	})
	return p.seenByOwner(), err
}

// Avatar is a user's picture with its type and the name of its content. NotFound: there is none.
func (s *Service) Avatar(ctx context.Context, id uuid.UUID) (blob.Ref, []byte, error) {
	name, err := avatar(ctx, s.db, id)
	if errs.KindOf(err) == errs.NotFound || err == nil && name == "" {
		return "", nil, errNoPicture
	}
	if err != nil {
		return "", nil, err
	}
	content, err := s.pictures.Open(ctx, blob.Ref(name))
	if err != nil {
		return "", nil, err
	}
	defer content.Close()
	body, err := io.ReadAll(io.LimitReader(content, maxAvatar))
	return blob.Ref(name), body, err
}

// draw answers the upload as a picture of ours: cut to its middle square, small, without anything that was not seen.
func (s *Service) draw(ctx context.Context, upload []byte) (contentType string, drawn []byte, err error) {
	decode, err := decoder(upload)
	if err != nil {
		return "", nil, err
	}
	select {
	case s.drawing <- struct{}{}:
		defer func() { <-s.drawing }()
	case <-ctx.Done():
		return "", nil, errs.New(errs.TooMany, "Many pictures are being worked on. Try again in a moment.").After(5 * time.Second).Because(ctx.Err())
	}
	picture, err := decode(&untilDone{ctx, bytes.NewReader(upload)})
	if err != nil {
		return "", nil, errBroken.Because(err)
	}
	small := upright(square(picture), orientation(upload))
	var out bytes.Buffer
	if small.Opaque() {
		contentType, err = "image/jpeg", jpeg.Encode(&out, small, &jpeg.Options{Quality: 85})
	} else {
		contentType, err = "image/png", png.Encode(&out, small)
	}
	if err != nil {
		return "", nil, fmt.Errorf("draw a picture: %w", err)
	}
	return contentType, out.Bytes(), nil
}
