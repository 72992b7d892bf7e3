package endtoend

import (
	"context"
	"errors"

	"github.com/apache/arrow-adbc/go/adbc"
	"github.com/apache/arrow-go/v18/arrow"
)

// suiteDriver is the driver with one thing put right in its statements.
type suiteDriver struct{ adbc.Driver }

// NewDatabase implements adbc.Driver.
func (d suiteDriver) NewDatabase(options map[string]string) (adbc.Database, error) {
	db, err := d.Driver.NewDatabase(options)
	if err != nil {
		return nil, err
	}
	return suiteDatabase{db, db.(adbc.GetSetOptions)}, nil
}

type suiteDatabase struct {
	adbc.Database
	adbc.GetSetOptions
}

// Open implements adbc.Database.
func (d suiteDatabase) Open(ctx context.Context) (adbc.Connection, error) {
	c, err := d.Database.Open(ctx)
	if err != nil {
		return nil, err
	}
	return suiteConnection{c, c.(adbc.GetSetOptions)}, nil
}

type suiteConnection struct {
	adbc.Connection
	adbc.GetSetOptions
}

// NewStatement implements adbc.Connection.
func (c suiteConnection) NewStatement() (adbc.Statement, error) {
	st, err := c.Connection.NewStatement()
	if err != nil {
		return nil, err
	}
	return &suiteStatement{Statement: st, conn: c.Connection}, nil
}

// suiteStatement is the driver's, made anew when a query follows an ingest: the driver's own (1.12.0) keeps the batch
// that it ingested, and refuses the query for it.
type suiteStatement struct {
	adbc.Statement
	conn     adbc.Connection
	ingested bool
}

// SetOption implements adbc.Statement.
func (s *suiteStatement) SetOption(key, value string) error {
	s.ingested = s.ingested || key == adbc.OptionKeyIngestTargetTable
	return s.Statement.SetOption(key, value)
}

// SetSqlQuery implements adbc.Statement.
func (s *suiteStatement) SetSqlQuery(text string) error {
	if s.ingested {
		made, err := s.conn.NewStatement()
		if err = errors.Join(err, s.Statement.Close()); err != nil {
			return err
		}
		s.Statement, s.ingested = made, false
	}
	return s.Statement.SetSqlQuery(text)
}

// ExecuteSchema implements adbc.StatementExecuteSchema.
func (s *suiteStatement) ExecuteSchema(ctx context.Context) (*arrow.Schema, error) {
	return s.Statement.(adbc.StatementExecuteSchema).ExecuteSchema(ctx)
}

func (s *suiteStatement) options() adbc.GetSetOptions { return s.Statement.(adbc.GetSetOptions) }

// SetOptionBytes implements adbc.GetSetOptions, as do the methods below.
func (s *suiteStatement) SetOptionBytes(key string, v []byte) error {
	return s.options().SetOptionBytes(key, v)
}
func (s *suiteStatement) SetOptionInt(key string, v int64) error {
	return s.options().SetOptionInt(key, v)
}
func (s *suiteStatement) SetOptionDouble(key string, v float64) error {
	return s.options().SetOptionDouble(key, v)
}
func (s *suiteStatement) GetOption(key string) (string, error) { return s.options().GetOption(key) }
func (s *suiteStatement) GetOptionBytes(key string) ([]byte, error) {
	return s.options().GetOptionBytes(key)
}
func (s *suiteStatement) GetOptionInt(key string) (int64, error) {
	return s.options().GetOptionInt(key)
}
func (s *suiteStatement) GetOptionDouble(key string) (float64, error) {
	return s.options().GetOptionDouble(key)
}
