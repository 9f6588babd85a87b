package postgres

import (
	"context"
	"errors"
	"io"
	"net"
	"reflect"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/puddle/v2"

	"tulifo/platform/errs"
)

// Violates tells whether err comes from the constraint of that name, whichever kind it is.
func Violates(err error, constraint string) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && strings.HasPrefix(pg.Code, "23") && pg.ConstraintName == constraint
}

// repeatable tells whether the same transaction may well succeed when it is run again.
func repeatable(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (pg.Code == "40001" || pg.Code == "40P01")
}

// mapped is err as Unavailable when the database is away, full or in a deadlock, Timeout when there was no answer in time and Invalid when it was
// given a value that it cannot hold; any other is left as it is.
func mapped(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*errs.Error](err); ok {
		return err
	}
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch {
		case pg.Code == "57P01", pg.Code == "57P02", pg.Code == "57P03", pg.Code == "25006", strings.HasPrefix(pg.Code, "53"), strings.HasPrefix(pg.Code, "08"):
			return unreachable(err)
		case repeatable(err), pg.Code == "55P03":
			return errs.New(errs.Unavailable, "Others are changing the same thing at the moment. Try again shortly.").Because(err)
		case pg.Code == "22021", pg.Code == "22P05":
			return errs.New(errs.Invalid, "Text may not contain null characters or bytes that are not UTF-8.").Because(err)
		case pg.Code == "22001", pg.Code == "22003", pg.Code == "22008", pg.Code == "54000":
			return errs.New(errs.Invalid, "A value is longer or larger than can be kept.").Because(err)
		case pg.Code == "57014" && ctx.Err() == nil:
			return errs.New(errs.Timeout, "That took too long. Try again.").Because(err)
		}
		return err
	}
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return errs.New(errs.Timeout, "That took too long. Try again.").Because(err)
	case ctx.Err() != nil:
		return err
	case away(err):
		return unreachable(err)
	}
	return err
}

func away(err error) bool {
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		return true
	}
	if _, ok := errors.AsType[net.Error](err); ok {
		return true
	}
	for _, target := range []error{io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, pgconn.ErrConnClosed, puddle.ErrClosedPool, syscall.ECONNRESET, syscall.EPIPE, context.DeadlineExceeded} {
		if errors.Is(err, target) {
			return true
		}
	}
	return garbled(err)
}

// garbled tells whether what came over the line is no answer of Postgres. The driver has no exported types for most of it.
func garbled(err error) bool {
	// A value of another length than its type has: which type it is was said before, and never comes from us.
	if a, ok := errors.AsType[pgx.ScanArgError](err); ok && strings.Contains(a.Err.Error(), "invalid length") {
		return true
	}
	for ; err != nil; err = errors.Unwrap(err) {
		if t := reflect.TypeOf(err); t.Kind() == reflect.Pointer && strings.HasSuffix(t.Elem().PkgPath(), "/pgproto3") {
			return true
		}
		text := err.Error()
		for _, start := range []string{"unknown message type", "received unexpected message", "invalid message length", "number of field descriptions must equal number of values"} {
			if strings.HasPrefix(text, start) {
				return true
			}
		}
	}
	return false
}

func unreachable(err error) error {
	return errs.New(errs.Unavailable, "The data cannot be reached at the moment. Try again shortly.").Because(err)
}
