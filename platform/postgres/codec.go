package postgres

import (
	"errors"
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

	m.TryWrapEncodePlanFuncs = append([]pgtype.TryWrapEncodePlanFunc{encodeUUID}, m.TryWrapEncodePlanFuncs...)
	m.TryWrapScanPlanFuncs = append([]pgtype.TryWrapScanPlanFunc{scanUUID}, m.TryWrapScanPlanFuncs...)
}

type uuidCodec struct{ pgtype.UUIDCodec }

func (uuidCodec) DecodeValue(m *pgtype.Map, oid uint32, format int16, src []byte) (any, error) {
	if src == nil {
		return nil, nil
	}
	var id uuid.UUID
	err := m.Scan(oid, format, src, &id)
	return id, err
}

type uuidValue uuid.UUID

func (v uuidValue) UUIDValue() (pgtype.UUID, error) { return pgtype.UUID{Bytes: v, Valid: true}, nil }

func (v *uuidValue) ScanUUID(from pgtype.UUID) error {
	if !from.Valid {
		*v = uuidValue{}
		return errors.New("NULL cannot be scanned into uuid.UUID; use *uuid.UUID")
	}
	*v = from.Bytes
	return nil
}

type nullUUID uuid.NullUUID

func (v nullUUID) UUIDValue() (pgtype.UUID, error) {
	return pgtype.UUID{Bytes: v.UUID, Valid: v.Valid}, nil
}

func (v *nullUUID) ScanUUID(from pgtype.UUID) error {
	*v = nullUUID{UUID: from.Bytes, Valid: from.Valid}
	return nil
}

func encodeUUID(value any) (pgtype.WrappedEncodePlanNextSetter, any, bool) {
	switch v := value.(type) {
	case uuid.UUID:
		return &encodeWrapped{}, uuidValue(v), true
	case uuid.NullUUID:
		return &encodeWrapped{}, nullUUID(v), true
	}
	return nil, nil, false
}

func scanUUID(target any) (pgtype.WrappedScanPlanNextSetter, any, bool) {
	switch v := target.(type) {
	case *uuid.UUID:
		return &scanWrapped{}, (*uuidValue)(v), true
	case *uuid.NullUUID:
		return &scanWrapped{}, (*nullUUID)(v), true
	}
	return nil, nil, false
}

type encodeWrapped struct{ next pgtype.EncodePlan }

func (p *encodeWrapped) SetNext(next pgtype.EncodePlan) { p.next = next }

func (p *encodeWrapped) Encode(value any, buf []byte) ([]byte, error) {
	switch v := value.(type) {
	case uuid.UUID:
		value = uuidValue(v)
	case uuid.NullUUID:
		value = nullUUID(v)
	}
	return p.next.Encode(value, buf)
}

type scanWrapped struct{ next pgtype.ScanPlan }

func (p *scanWrapped) SetNext(next pgtype.ScanPlan) { p.next = next }

func (p *scanWrapped) Scan(src []byte, target any) error {
	switch v := target.(type) {
	case *uuid.UUID:
		target = (*uuidValue)(v)
	case *uuid.NullUUID:
		target = (*nullUUID)(v)
	}
	return p.next.Scan(src, target)
}
