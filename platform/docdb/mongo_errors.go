package docdb

import (
	"context"
	"errors"
	"strings"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/topology"

	"tulifo/platform/errs"
)

// Codes of the server.
const (
	lockTimeout        = 24
	writeConflict      = 112
	conversionFailure  = 241
	noSuchTransaction  = 251
	bsonObjectTooLarge = 10334
)

// gone are the codes of a server that is going down, is not the primary just now, or did not reach the others.
var gone = []int{
	6,     // HostUnreachable
	7,     // HostNotFound
	64,    // WriteConcernFailed
	89,    // NetworkTimeout
	91,    // ShutdownInProgress
	189,   // PrimarySteppedDown
	9001,  // SocketException
	10107, // NotWritablePrimary
	11600, // InterruptedAtShutdown
	11602, // InterruptedDueToReplStateChange
	13435, // NotPrimaryNoSecondaryOk
	13436, // NotPrimaryOrSecondary
}

// unwell is err as Unavailable when the server is away or others are in the way, as Timeout when there was no answer in time, and as Invalid when
// it was given what it cannot keep; any other is left as it is.
func unwell(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*errs.Error](err); ok {
		return err
	}
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return errs.New(errs.Timeout, "That took too long. Try again.").Because(err)
	case ctx.Err() != nil:
		return err
	case conflicting(err):
		return errs.New(errs.Unavailable, "Others are changing the same thing at the moment. Try again shortly.").Because(err)
	case has(err, conversionFailure):
		return errs.New(errs.Invalid, "The number is too large.").Because(err)
	case has(err, bsonObjectTooLarge):
		return errLarge.Because(err)
	case away(err):
		return errs.New(errs.Unavailable, "The data cannot be reached at the moment. Try again shortly.").Because(err)
	case mongo.IsTimeout(err):
		return errs.New(errs.Timeout, "That took too long. Try again.").Because(err)
	}
	return err
}

func conflicting(err error) bool {
	return has(err, writeConflict) || has(err, lockTimeout) || has(err, noSuchTransaction)
}

// away says that the server was not reached, or is going down, or is not the primary just now.
func away(err error) bool {
	for _, label := range []string{"NetworkError", "RetryableWriteError", "NoWritesPerformed", "TransientTransactionError", "UnknownTransactionCommitResult"} {
		if labelled(err, label) {
			return true
		}
	}
	for _, code := range gone {
		if has(err, code) {
			return true
		}
	}
	_, selection := errors.AsType[topology.ServerSelectionError](err)
	_, queue := errors.AsType[topology.WaitQueueTimeoutError](err)
	// A connection that another operation found broken.
	cleared, ok := errors.AsType[interface {
		error
		driver.RetryablePoolError
	}](err)
	return selection || queue || garbled(err) || ok && cleared.Retryable() || mongo.IsNetworkError(err) || errors.Is(err, mongo.ErrClientDisconnected)
}

// garbled says that what came over the line was no message. The driver has no type for it but its words, and what the server makes of garbage is
// of its parser's codes.
func garbled(err error) bool {
	for _, words := range []string{"malformed wire message", "malformed OP_", "cannot decode result from", "unknown compressor"} {
		if strings.Contains(err.Error(), words) {
			return true
		}
	}
	return has(err, 17) || has(err, 40432) || has(err, 40431)
}

func labelled(err error, label string) bool {
	for err != nil {
		l, ok := errors.AsType[mongo.LabeledError](err)
		if !ok {
			return false
		}
		if l.HasErrorLabel(label) {
			return true
		}
		err = errors.Unwrap(l)
	}
	return false
}
