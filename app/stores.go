package app

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"tulifo/platform/blob"
	"tulifo/platform/docdb"
	"tulifo/platform/errs"
	"tulifo/platform/outbox"
	"tulifo/platform/postgres"
)

// servers are the variables that put a store of the platform on a server of its own, besides Postgres, which stays.
var servers = []string{"MONGODB_URI", "RABBITMQ_URL", "S3_ENDPOINT"}

// settling is how long events that wait may take to be handled before a move.
const settling = 5 * time.Minute

// places says of each place of documents whether it is the one that counts. It is empty where nothing was ever moved.
var places = docdb.NewCollection[placeMark]("store")

type placeMark struct {
	ID    string `json:"id"`
	State string `json:"state"`
}

const (
	theMark = "state"
	left    = "left"    // what is here was moved on, and is old
	filling = "filling" // what is here is not complete
)

func stateOf(ctx context.Context, docs docdb.DB) (string, error) {
	m, err := places.Get(ctx, docs, theMark)
	if errs.KindOf(err) == errs.NotFound {
		return "", nil
	}
	return m.State, err
}

func mark(ctx context.Context, docs docdb.DB, state string) error {
	if state == "" {
		_, err := places.DeleteAll(ctx, docs, docdb.Filter{})
		return err
	}
	_, err := places.Upsert(ctx, docs, placeMark{theMark, state})
	return err
}

// counts refuses documents that are not the platform's any more, or not yet.
func (r *room) counts(ctx context.Context) error {
	state, err := stateOf(ctx, r.docs)
	switch {
	case err != nil:
		return err
	case state == filling:
		return errors.New("its documents were being moved here, and that was not finished; run tulifo stores move again as it was run")
	case state == left && r.db != nil:
		return errors.New("its documents were moved to MongoDB; set MONGODB_URI, or bring them back with tulifo stores move --to embedded")
	case state == left:
		return errors.New("its documents were moved away from MongoDB; leave MONGODB_URI out, or move them there again with tulifo stores move --to servers")
	}
	return nil
}

// nothingBehind refuses an empty MongoDB while the service's documents are in Postgres, where they were until somebody set MONGODB_URI and moved
// nothing.
func (n *node) nothingBehind(ctx context.Context, r *room) error {
	if n.c.DatabaseURL == "" {
		return nil
	}
	db, err := n.open(ctx, r.schema(), 1)
	if err != nil {
		return err
	}
	defer db.Close()
	kept, err := postgres.One[bool](ctx, db, `SELECT to_regclass(quote_ident($1) || '.store') IS NOT NULL`, r.schema())
	if err != nil || !kept {
		return err
	}
	old, err := docdb.Open(ctx, db, append(r.documents(), places)...)
	if err != nil {
		return err
	}
	if state, err := stateOf(ctx, old); err != nil || state != "" {
		return err
	}
	behind, err := docdb.Documents(ctx, old, r.documents()...)
	if err != nil || behind == 0 {
		return err
	}
	here, err := docdb.Documents(ctx, r.docs, r.documents()...)
	if err == nil && here == 0 {
		err = fmt.Errorf("its %d documents are in Postgres, and MongoDB is empty; move them with tulifo stores move --to servers, or leave MONGODB_URI out", behind)
	}
	return err
}

func (e *environ) stores() *cobra.Command {
	var to string
	move := &cobra.Command{
		Use: "move", Short: "Move documents, files and waiting events to MongoDB, S3 and RabbitMQ, or back; nothing may run meanwhile", Args: noArgs,
		Long: "Move what the embedded stores hold to the servers that MONGODB_URI, S3_ENDPOINT and RABBITMQ_URL name (--to servers), or what those hold back (--to embedded).\n" +
			"Only what is named is moved, and the variables stand in the environment for both ways. Events are handled first, so that none waits; documents and files are\n" +
			"copied, counted and compared. What was left stays as it is until the next move. A move that was interrupted is run again.",
		RunE: func(c *cobra.Command, _ []string) error {
			if to != "servers" && to != "embedded" {
				return usageError{errors.New("say --to servers or --to embedded")}
			}
			return e.moveStores(c.Context(), to == "servers")
		},
	}
	move.Flags().StringVar(&to, "to", "", "servers or embedded")
	c := &cobra.Command{Use: "stores", Short: "Where the platform keeps its data", RunE: group}
	c.AddCommand(move)
	return c
}

func (e *environ) moveStores(ctx context.Context, out bool) error {
	log := e.logger("warn")
	named := e.vars["DATABASE_URL"] != ""
	leave, err := e.installation(ctx, log)
	if err != nil {
		return err
	}
	defer leave()
	if !named && !e.stopped {
		return errors.New("this installation runs; stop it, since nothing may be written while its stores are moved")
	}
	with, err := readConfig(e.vars)
	if err != nil {
		return err
	}
	vars := maps.Clone(e.vars)
	for _, name := range servers {
		delete(vars, name)
	}
	without, err := readConfig(vars)
	if err != nil {
		return err
	}
	if with.MongoURI == "" && with.RabbitURL == "" && with.Files.Endpoint == "" {
		return usageError{errors.New("none of MONGODB_URI, RABBITMQ_URL and S3_ENDPOINT is set, so there is nothing to move")}
	}
	from, to := with, without
	if out {
		from, to = without, with
	}
	o := nodeOptions{names: serviceNames(), poolMax: 4, remote: true, command: true, moving: true}
	source, err := newNode(ctx, from, log, o)
	if err != nil {
		return fmt.Errorf("where the data is now: %w", err)
	}
	defer source.close()
	target, err := newNode(ctx, to, log, o)
	if err != nil {
		return fmt.Errorf("where the data is to go: %w", err)
	}
	defer target.close()
	for i, r := range source.rooms {
		if err := movable(ctx, r, target.rooms[i]); err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
	}
	if err := source.alone(ctx); err != nil {
		return err
	}
	if err := source.settle(ctx); err != nil {
		return err
	}
	fmt.Fprintln(e.out, "Every event that waited is handled.")
	if err := source.alone(ctx); err != nil {
		return err
	}
	// Files may be copied any number of times, documents once: whatever breaks off before they are moved is begun again.
	if with.Files.Endpoint != "" {
		for _, service := range uploading {
			err := e.copyOf(ctx, with, service, func(d *blob.Files, s *blob.S3) (blob.Source, blob.Store) {
				if out {
					return d, s
				}
				return s, d
			})
			if err != nil {
				return fmt.Errorf("files of %s: %w", service, err)
			}
		}
	}
	for i, r := range source.rooms {
		if (r.db == nil) == (target.rooms[i].db == nil) {
			continue
		}
		docs, held, err := source.moveDocuments(ctx, r, target.rooms[i])
		if err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
		fmt.Fprintf(e.out, "%s: %d documents and %d held events are moved.\n", r.name, docs, held)
	}
	if out {
		fmt.Fprintln(e.out, "Start the platform with the same variables.")
	} else {
		fmt.Fprintln(e.out, "Start the platform without MONGODB_URI, RABBITMQ_URL and S3_ENDPOINT.")
	}
	return nil
}

// alone refuses while another process works on one of the services.
func (n *node) alone(ctx context.Context) error {
	for _, r := range n.rooms {
		if err := n.rests(ctx, r); err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
	}
	return nil
}

// rests refuses while another process works on the service.
func (n *node) rests(ctx context.Context, r *room) error {
	idle, err := outbox.Idle(ctx, r.events(), n.session)
	if err == nil && !idle {
		err = errors.New("it runs; stop every process of the platform, since nothing may be written while its stores are moved")
	}
	return err
}

// settle has the services handle every event that waits, on the bus and in outboxes.
func (n *node) settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, settling)
	defer cancel()
	loops, stop := context.WithCancel(n.stamped(ctx))
	var work sync.WaitGroup
	defer work.Wait()
	defer stop()
	var inboxes []*outbox.Inbox
	for _, r := range n.rooms {
		if state, err := n.movedOn(ctx, r); err != nil || state {
			if err != nil {
				return err
			}
			continue
		}
		inboxes = append(inboxes, r.inbox)
		work.Go(func() { _ = r.relay.Run(loops) })
		work.Go(func() { _ = r.inbox.Run(loops, n.bus) })
	}
	return outbox.Settle(ctx, n.bus, inboxes...)
}

// movedOn tells whether an earlier move took the service's documents away, and was interrupted after that.
func (n *node) movedOn(ctx context.Context, r *room) (bool, error) {
	if r.docs == nil {
		return false, nil
	}
	state, err := stateOf(ctx, r.docs)
	return state == left, err
}

// movable refuses what cannot be the next move before an event is touched: one that is handled where the documents are no more is lost to them.
func movable(ctx context.Context, from, to *room) error {
	if from.docs == nil {
		return nil
	}
	if (from.db == nil) == (to.db == nil) {
		return from.counts(ctx)
	}
	here, err := stateOf(ctx, from.docs)
	if err != nil {
		return err
	}
	there, err := stateOf(ctx, to.docs)
	switch {
	case err != nil:
		return err
	case here == filling:
		return errors.New("a move in the other direction was interrupted; finish that first")
	case here == left && there == "":
		return errors.New("its documents were moved already")
	case there == "":
		return vacant(ctx, to)
	}
	return nil
}

// moveDocuments copies a service's documents and the events that it holds back. Whenever it is interrupted, one of the two places counts, or
// neither does until it is run again. One where the service has been started meanwhile goes on to count.
func (n *node) moveDocuments(ctx context.Context, from, to *room) (docs, held int, err error) {
	if err := mark(ctx, to.docs, filling); err != nil {
		return 0, 0, err
	}
	if docs, err = docdb.Copy(ctx, from.docs, to.docs, from.documents()...); err != nil {
		return 0, 0, err
	}
	if held, err = outbox.Move(ctx, from.events(), to.events()); err != nil {
		return 0, 0, err
	}
	if err := mark(ctx, from.docs, left); err != nil {
		return 0, 0, err
	}
	// Nobody starts there any more; who did before may have written what the copy has not.
	if err := n.rests(ctx, from); err != nil {
		return 0, 0, errors.Join(err, mark(context.WithoutCancel(ctx), from.docs, ""))
	}
	return docs, held, mark(ctx, to.docs, "")
}

// vacant refuses a place that somebody else's documents are in.
func vacant(ctx context.Context, r *room) error {
	n, err := docdb.Documents(ctx, r.docs, r.documents()...)
	if err == nil && n > 0 {
		err = fmt.Errorf("there are %d documents already where they are to go, and none of an earlier move; name an empty database", n)
	}
	return err
}
