package flightsrv_test

import (
	"context"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow/flight"
	pb "github.com/apache/arrow-go/v18/arrow/flight/gen/flight"
	"google.golang.org/grpc/codes"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"

	"kalamflight/flightsrv"
)

// A query is described at once; a change that takes long is polled until it has run, once.
func TestPoll(t *testing.T) {
	s := start(t, flightsrv.Options{})
	r := s.raw(t)
	now, err := r.PollFlightInfo(annCtx(), cmd(t, query("ROWS 2")))
	if err != nil || now.FlightDescriptor != nil || now.GetProgress() != 1 || len(now.Info.Endpoint) != 1 {
		t.Fatalf("a query: %v, %v", now, err)
	}
	if rows, err := r.get(annCtx(), now.Info.Endpoint[0].Ticket); err != nil || len(rows) != 2 {
		t.Errorf("rows = %q, %v", rows, err)
	}
	_, err = r.PollFlightInfo(annCtx(), cmd(t, query("SYNTEX")))
	wantCode(t, "a mistake", err, codes.InvalidArgument)

	first, err := r.PollFlightInfo(annCtx(), cmd(t, query("CHANGE 77")))
	if err != nil || first.FlightDescriptor == nil || first.Info == nil || first.ExpirationTime == nil ||
		time.Until(first.ExpirationTime.AsTime()) < 4*time.Minute {
		t.Fatalf("a change that takes long: %v, %v", first, err)
	}
	_, err = r.PollFlightInfo(basic("bob", "bob's password"), first.FlightDescriptor)
	wantCode(t, "another user's poll", err, codes.PermissionDenied)
	_, err = r.DoGet(annCtx(), &pb.Ticket{Ticket: first.FlightDescriptor.Cmd})
	if err == nil {
		_, err = r.get(annCtx(), &pb.Ticket{Ticket: first.FlightDescriptor.Cmd})
	}
	wantCode(t, "a poll that is read", err, codes.InvalidArgument)
	again, err := r.PollFlightInfo(annCtx(), first.FlightDescriptor)
	if err != nil || again.FlightDescriptor == nil {
		t.Fatalf("while it runs: %v, %v", again, err)
	}
	close(s.slow)
	for range 2 { // an answer may be lost, and asked for again
		last, err := r.PollFlightInfo(annCtx(), again.FlightDescriptor)
		if err != nil || last.FlightDescriptor != nil || last.GetProgress() != 1 || last.Info.TotalRecords != 77 {
			t.Fatalf("when it has run: %v, %v", last, err)
		}
	}
	if n := s.executions("CHANGE 77"); n != 1 {
		t.Errorf("it ran %d times", n)
	}
}

// CancelFlightInfo ends what is polled, and so does a client that goes away before it knows how to ask again.
func TestPollsAreCancelled(t *testing.T) {
	s := start(t, flightsrv.Options{Polls: 1})
	r := s.raw(t)
	ctx, cancel := context.WithTimeout(annCtx(), 100*time.Millisecond)
	defer cancel()
	_, err := r.PollFlightInfo(ctx, cmd(t, query("CHANGE 77")))
	wantCode(t, "a client in a hurry", err, codes.DeadlineExceeded)

	var polled *pb.PollInfo
	for i := 0; ; i++ { // the server learns a moment later that the first client went away
		if polled, err = r.PollFlightInfo(annCtx(), cmd(t, query("CHANGE 77"))); err == nil {
			break
		}
		wantCode(t, "one too many", err, codes.ResourceExhausted)
		if i == 100 {
			t.Fatal("the place of who went away is still taken")
		}
		time.Sleep(10 * time.Millisecond)
	}
	var result pb.CancelFlightInfoResult
	err = r.action(annCtx(), flight.CancelFlightInfoActionType, &pb.CancelFlightInfoRequest{Info: polled.Info}, false,
		&result)
	if err != nil || result.Status != pb.CancelStatus_CANCEL_STATUS_CANCELLED {
		t.Fatalf("cancel: %v, %v", result.Status, err)
	}
	_, err = r.PollFlightInfo(annCtx(), polled.FlightDescriptor)
	wantCode(t, "after it was cancelled", err, codes.Canceled)
	if n := s.executions("CHANGE 77"); n != 0 {
		t.Errorf("it ran %d times", n)
	}
}

// Reflection is for callers that are known.
func TestReflection(t *testing.T) {
	s := start(t, flightsrv.Options{})
	conn := s.conn(t)
	for _, c := range []struct {
		ctx  context.Context
		want codes.Code
	}{{basic("ann", "not ann's password"), codes.Unauthenticated}, {annCtx(), codes.OK}} {
		stream, err := reflectionpb.NewServerReflectionClient(conn).ServerReflectionInfo(c.ctx)
		if err != nil {
			t.Fatal(err)
		}
		ask := &reflectionpb.ServerReflectionRequest{
			MessageRequest: &reflectionpb.ServerReflectionRequest_FileContainingSymbol{
				FileContainingSymbol: pb.FlightService_ServiceDesc.ServiceName}}
		_ = stream.Send(ask) // a refusal comes with the answer
		answer, err := stream.Recv()
		wantCode(t, "reflection", err, c.want)
		if err == nil && answer.GetFileDescriptorResponse() == nil {
			t.Errorf("reflection knows nothing of the service: %v", answer)
		}
	}
}
