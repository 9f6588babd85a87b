package postgres

import (
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgtype"
)

// registerTypes has times scanned in UTC wherever they stand, and uuid.UUID known as uuid without the detour over text.
func registerTypes(m *pgtype.Map) {
	at := &pgtype.Type{Name: "timestamptz", OID: pgtype.TimestamptzOID, Codec: &pgtype.TimestamptzCodec{ScanLocation: time.UTC}}
	during := &pgtype.Type{Name: "tstzrange", OID: pgtype.TstzrangeOID, Codec: &pgtype.RangeCodec{ElementType: at}}
	m.RegisterType(at)
	m.RegisterType(during)
	m.RegisterType(&pgtype.Type{Name: "tstzmultirange", OID: pgtype.TstzmultirangeOID, Codec: &pgtype.MultirangeCodec{ElementType: during}})
	m.RegisterType(&pgtype.Type{Name: "_timestamptz", OID: pgtype.TimestamptzArrayOID, Codec: &pgtype.ArrayCodec{ElementType: at}})
	m.RegisterType(&pgtype.Type{Name: "_tstzrange", OID: pgtype.TstzrangeArrayOID, Codec: &pgtype.ArrayCodec{ElementType: during}})

	id := &pgtype.Type{Name: "uuid", OID: pgtype.UUIDOID, Codec: uuidCodec{}}
	m.RegisterType(id)
	m.RegisterType(&pgtype.Type{Name: "_uuid", OID: pgtype.UUIDArrayOID, Codec: &pgtype.ArrayCodec{ElementType: id}})
	m.RegisterDefaultPgType(uuid.UUID{}, "uuid")
	m.RegisterDefaultPgType((*uuid.UUID)(nil), "uuid")
	m.RegisterDefaultPgType([]uuid.UUID(nil), "_uuid")
	m.RegisterDefaultPgType([]*uuid.UUID(nil), "_uuid")

}

// uuidCodec moves the sixteen bytes of a uuid.UUID; what it does not know is left to pgx.
type uuidCodec struct{ pgtype.UUIDCodec }

func (c uuidCodec) PlanEncode(m *pgtype.Map, oid uint32, format int16, value any) pgtype.EncodePlan {
	if _, ok := value.(uuid.UUID); ok && format == pgtype.BinaryFormatCode {
		return uuidPlan{}
	}
	return c.UUIDCodec.PlanEncode(m, oid, format, value)
}

func (c uuidCodec) PlanScan(m *pgtype.Map, oid uint32, format int16, target any) pgtype.ScanPlan {
	if _, ok := target.(*uuid.UUID); ok && format == pgtype.BinaryFormatCode {
		return uuidPlan{}
	}
	return c.UUIDCodec.PlanScan(m, oid, format, target)
}

func (c uuidCodec) DecodeValue(m *pgtype.Map, oid uint32, format int16, src []byte) (any, error) {
	v, err := c.UUIDCodec.DecodeValue(m, oid, format, src)
	if b, ok := v.([16]byte); ok {
		return uuid.UUID(b), err
	}
	return v, err
}

type uuidPlan struct{}

func (uuidPlan) Encode(value any, buf []byte) ([]byte, error) {
	id := value.(uuid.UUID)
	return append(buf, id[:]...), nil
}

func (uuidPlan) Scan(src []byte, target any) error {
	id := target.(*uuid.UUID)
	if src == nil {
		return errors.New("NULL does not fit uuid.UUID; use *uuid.UUID")
	}
	if len(src) != len(id) {
		return fmt.Errorf("a uuid of %d bytes", len(src))
	}
	copy(id[:], src)
	return nil
}
