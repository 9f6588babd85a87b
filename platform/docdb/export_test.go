package docdb

import (
	"reflect"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// ThroughBSON reads into what MongoDB would be given of v.
func ThroughBSON(v, into any) error {
	s := shapeOf(reflect.TypeOf(v))
	r, err := toBSON(v, s, true)
	if err != nil {
		return err
	}
	if r.Type == bson.TypeEmbeddedDocument {
		if err := bson.Raw(r.Value).Validate(); err != nil {
			return err
		}
	}
	return take(reflect.ValueOf(into).Elem(), r, s, true)
}
