package server

import "github.com/nats-io/nats.go"

// EngineConn is the engine's own connection.
func (s *Server) EngineConn() *nats.Conn { return s.conn }
