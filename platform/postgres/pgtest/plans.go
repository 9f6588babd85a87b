package pgtest

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"tulifo/platform/postgres"
)

// seen are the statements that came to the pools of Open, by schema, each with who sent it; what tests send themselves is not among them.
var seen = struct {
	sync.Mutex
	statements map[string]map[string]string
	migrations map[string][]postgres.Migration // by database
}{statements: map[string]map[string]string{}, migrations: map[string][]postgres.Migration{}}

// listener tells of the statements of one schema.
type listener struct{ schema string }

func (l listener) TraceQueryStart(ctx context.Context, _ *pgx.Conn, d pgx.TraceQueryStartData) context.Context {
	l.note(d.SQL)
	return ctx
}

func (listener) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func (l listener) TraceBatchStart(ctx context.Context, _ *pgx.Conn, d pgx.TraceBatchStartData) context.Context {
	for _, q := range d.Batch.QueuedQueries {
		l.note(q.SQL)
	}
	return ctx
}

func (listener) TraceBatchQuery(context.Context, *pgx.Conn, pgx.TraceBatchQueryData) {}

func (listener) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData) {}

// small are tables of the platform that stay so.
var small = map[string]string{
	"head":         "one row",
	"outbox":       "what is told leaves it",
	"parked":       "what could not be handled yet",
	"dead_letters": "what an operator has to look at",
}

var plannable = regexp.MustCompile(`(?is)^\s*(SELECT|WITH|INSERT|UPDATE|DELETE)\b`)

func (l listener) note(sql string) {
	seen.Lock()
	defer seen.Unlock()
	all := seen.statements[l.schema]
	if all == nil {
		all = map[string]string{}
		seen.statements[l.schema] = all
	}
	if _, known := all[sql]; known || !plannable.MatchString(sql) {
		return
	}
	if by := sender(); by != "" {
		all[sql] = by
	}
}

// sender is the file that sent what is being traced; empty when it is a test's.
func sender() string {
	pc := make([]uintptr, 64)
	frames := runtime.CallersFrames(pc[:runtime.Callers(3, pc)])
	for more := true; more; {
		var f runtime.Frame
		f, more = frames.Next()
		if strings.HasSuffix(f.File, "_test.go") {
			return ""
		}
		if strings.HasPrefix(f.Function, "tulifo/") && !strings.HasPrefix(f.Function, "tulifo/platform/postgres") {
			return filepath.Base(filepath.Dir(f.File)) + "/" + filepath.Base(f.File)
		}
	}
	return ""
}

// Explained runs a package's tests, and then has Postgres plan every statement that its code sent through DB or Open, for any values. It fails the run when one
// can be answered only by reading a whole table, or a whole index in search of what fits: at a hundred thousand rows that is too slow for anybody who waits.
// whole names what may, with the reason: a table that stays small, a file (such as booking/check.go) whose statements read all on purpose, or a part of a statement.
func Explained(m *testing.M, whole map[string]string) int {
	code := m.Run()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	faults, err := explained(ctx, whole)
	if err != nil {
		fmt.Fprintln(os.Stderr, "plans of the statements:", err)
		return max(code, 1)
	}
	for _, f := range faults {
		fmt.Fprintln(os.Stderr, f)
		code = max(code, 1)
	}
	return code
}

func explained(ctx context.Context, whole map[string]string) (faults []string, err error) {
	seen.Lock()
	defer seen.Unlock()
	for schema, statements := range seen.statements {
		found, err := faultsOf(ctx, schema, statements, whole)
		if err != nil {
			return nil, err
		}
		faults = append(faults, found...)
	}
	slices.Sort(faults)
	return faults, nil
}

// faultsOf plans the statements on an empty copy of the schema, with reading of whole tables priced out: what is planned so all the same has no other way.
func faultsOf(ctx context.Context, schema string, statements map[string]string, whole map[string]string) (faults []string, err error) {
	var migrations []postgres.Migration
	for _, of := range seen.migrations {
		if slices.ContainsFunc(of, func(m postgres.Migration) bool { return m.Schema == schema }) && len(of) > len(migrations) {
			migrations = of
		}
	}
	admin, err := server()
	if err != nil || len(migrations) == 0 {
		return nil, err
	}
	from, err := template(ctx, admin, migrations)
	if err != nil {
		return nil, err
	}
	// Nobody else is on the template, and nothing is written to it.
	cfg, err := pgx.ParseConfig(in(admin, from))
	if err != nil {
		return nil, err
	}
	for name, value := range map[string]string{"search_path": quoted(schema) + ", public", "enable_seqscan": "off", "plan_cache_mode": "force_generic_plan"} {
		cfg.RuntimeParams[name] = value
	}
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	partial := map[string]bool{}
	rows, err := conn.Query(ctx, `SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indpred IS NOT NULL`)
	if err != nil {
		return nil, err
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, err
	}
	for _, n := range names {
		partial[n] = true
	}
	parts := slices.DeleteFunc(slices.Collect(maps.Keys(whole)), func(key string) bool { return !strings.Contains(key, " ") })
	for sql, by := range statements {
		told := strings.Join(strings.Fields(sql), " ")
		if whole[by] != "" || slices.ContainsFunc(parts, func(part string) bool { return strings.Contains(told, part) }) {
			continue
		}
		p, err := planOf(ctx, conn, sql)
		if err != nil {
			// A statement of another schema's table, or one that tests break on purpose.
			continue
		}
		for _, table := range p.scans(partial, false) {
			if whole[table] == "" && small[table] == "" && !strings.HasSuffix(table, "_seq") {
				faults = append(faults, fmt.Sprintf("%s reads all of %s.%s, for want of an index:\n\t%s", by, schema, table, told))
			}
		}
	}
	return faults, nil
}

// plan is a node of what EXPLAIN answers as JSON.
type plan struct {
	Type     string `json:"Node Type"`
	Relation string `json:"Relation Name"`
	Index    string `json:"Index Name"`
	Cond     string `json:"Index Cond"`
	Filter   string `json:"Filter"`
	Plans    []plan `json:"Plans"`
}

func planOf(ctx context.Context, conn *pgx.Conn, sql string) (plan, error) {
	s, err := conn.Prepare(ctx, "planned", sql)
	if err != nil {
		return plan{}, err
	}
	defer conn.Deallocate(ctx, "planned")
	execute := "EXPLAIN (FORMAT JSON) EXECUTE planned"
	if n := len(s.ParamOIDs); n > 0 {
		execute += "(" + strings.TrimSuffix(strings.Repeat("NULL, ", n), ", ") + ")"
	}
	var raw []byte
	if err := conn.QueryRow(ctx, execute, pgx.QueryExecModeSimpleProtocol).Scan(&raw); err != nil {
		return plan{}, err
	}
	var said []struct{ Plan plan }
	if err := json.Unmarshal(raw, &said); err != nil || len(said) == 0 {
		return plan{}, fmt.Errorf("plan: %w in %s", err, raw)
	}
	return said[0].Plan, nil
}

// scans are the tables that the plan reads whole. A page in the order of an index is not one of them, nor is all of an index that holds a part of the rows.
func (p plan) scans(partial map[string]bool, paged bool) (tables []string) {
	switch p.Type {
	case "Limit":
		paged = true
	case "Sort", "Aggregate", "Hash", "WindowAgg":
		paged = false
	case "Seq Scan":
		tables = append(tables, p.Relation)
	case "Index Scan", "Index Only Scan":
		if p.Cond == "" && !partial[p.Index] && (!paged || p.Filter != "") {
			tables = append(tables, p.Relation)
		}
	case "Bitmap Heap Scan":
		for _, in := range p.Plans {
			if in.Type == "Bitmap Index Scan" && in.Cond == "" && !partial[in.Index] {
				tables = append(tables, p.Relation)
			}
		}
	}
	for _, in := range p.Plans {
		tables = append(tables, in.scans(partial, paged)...)
	}
	return tables
}
