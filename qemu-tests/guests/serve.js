// A web app of Debian's Node on the kept socket, descriptor 3.
'use strict'
const http = require('http')

// Three times as long as the load generator reuses an idle connection.
const IDLE_MS = 1200
const seen = new Map()
let draining = false

// Answers as the load generator wants it: see `Kind` in load/request.rs.
function answer(request, body, response) {
  const url = new URL(request.url, 'http://localhost')
  const identity = request.headers['x-request-id'] || ''
  const count = (seen.get(identity) || 0) + 1
  seen.set(identity, count)
  const send = (content) => {
    const headers = { 'Content-Length': content.length }
    if (url.pathname !== '/up') {
      headers['X-Request-Id'] = identity
      headers['X-Request-Count'] = count
    }
    if (draining) headers.Connection = 'close'
    response.writeHead(200, headers).end(content)
  }
  if (url.pathname === '/up') return send(Buffer.from('ok'))
  if (url.pathname === '/echo') return send(body)
  const words = `id=${identity} instance=${process.pid} count=${count} version=@version@\n`
  setTimeout(() => send(Buffer.from(words)), Number(url.searchParams.get('ms') || 0))
}

const server = http.createServer((request, response) => {
  const parts = []
  request.on('data', (part) => parts.push(part))
  request.on('end', () => answer(request, Buffer.concat(parts), response))
})
server.listen({ fd: 3 })
process.on('SIGTERM', () => {
  draining = true
  server.close()
  setTimeout(() => server.closeIdleConnections(), IDLE_MS)
})
