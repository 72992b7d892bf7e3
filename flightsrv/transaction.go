package flightsrv

import (
	"context"

	pb "github.com/apache/arrow-go/v18/arrow/flight/gen/flight"
	"google.golang.org/protobuf/proto"
)

// beginTransaction begins a transaction of the caller's session.
func (s *Server) beginTransaction(ctx context.Context, body []byte) (proto.Message, error) {
	if err := unpackTo(body, &pb.ActionBeginTransactionRequest{}); err != nil {
		return nil, err
	}
	x, err := s.sessionOf(ctx)
	if err != nil {
		return nil, err
	}
	id, err := x.engine.Begin()
	if err != nil {
		return nil, err
	}
	return &pb.ActionBeginTransactionResult{TransactionId: []byte(id)}, nil
}

// endTransaction commits one of them, or rolls it back.
func (s *Server) endTransaction(ctx context.Context, body []byte) error {
	req := &pb.ActionEndTransactionRequest{}
	x, err := s.sessionAsked(ctx, body, req)
	if err != nil {
		return err
	}
	switch req.Action {
	case pb.ActionEndTransactionRequest_END_TRANSACTION_COMMIT:
		return x.engine.End(ctx, string(req.TransactionId), true)
	case pb.ActionEndTransactionRequest_END_TRANSACTION_ROLLBACK:
		return x.engine.End(ctx, string(req.TransactionId), false)
	}
	return invalid("a transaction is ended by commit or by rollback")
}

func (s *Server) beginSavepoint(ctx context.Context, body []byte) (proto.Message, error) {
	req := &pb.ActionBeginSavepointRequest{}
	x, err := s.sessionAsked(ctx, body, req)
	if err != nil {
		return nil, err
	}
	id, err := x.engine.BeginSavepoint(ctx, string(req.TransactionId), req.Name)
	if err != nil {
		return nil, err
	}
	return &pb.ActionBeginSavepointResult{SavepointId: []byte(id)}, nil
}

func (s *Server) endSavepoint(ctx context.Context, body []byte) error {
	req := &pb.ActionEndSavepointRequest{}
	x, err := s.sessionAsked(ctx, body, req)
	if err != nil {
		return err
	}
	switch req.Action {
	case pb.ActionEndSavepointRequest_END_SAVEPOINT_RELEASE:
		return x.engine.EndSavepoint(ctx, string(req.SavepointId), false)
	case pb.ActionEndSavepointRequest_END_SAVEPOINT_ROLLBACK:
		return x.engine.EndSavepoint(ctx, string(req.SavepointId), true)
	}
	return invalid("a savepoint is ended by release or by rollback")
}
