// The opponent: Express, pg with named prepared statements, bcryptjs and jsonwebtoken, answering some of the platform's routes over its database.
import bcrypt from 'bcryptjs'
import express from 'express'
import jwt from 'jsonwebtoken'
import { createHash, randomBytes, randomUUID } from 'node:crypto'
import pg from 'pg'

pg.types.setTypeParser(20, Number)
const pool = new pg.Pool({ max: 10 })
const secret = process.env.JWT_SECRET
const app = express()
app.disable('x-powered-by')
app.use(express.json({ limit: '1mb' }))

const fail = (res, status, code, message) => res.status(status).json({ success: false, error: { code, message } })

const signedIn = (req, res, next) => {
  const [scheme, token] = (req.headers.authorization ?? '').split(' ')
  if (scheme !== 'Bearer') return fail(res, 401, 'unauthorized', 'Sign in first.')
  try {
    req.caller = jwt.verify(token, secret, { algorithms: ['HS256'], issuer: 'tulifo-auth', audience: 'tulifo' })
  } catch {
    return fail(res, 401, 'unauthorized', 'Sign in again.')
  }
  next()
}

const view = (b) => ({
  id: b.id, workerId: b.worker_id, clientId: b.client_id, projectId: b.project_id, title: b.title, description: b.description,
  startTime: b.starts_at, endTime: b.ends_at, duration: b.duration_minutes, hourlyRate: b.rate_minor / 100, totalAmount: b.amount_minor / 100,
  currency: b.currency, category: b.category, status: b.status, meetingUrl: b.meeting_url, notes: b.notes, paid: b.paid_at !== null,
  expiresAt: b.expires_at, payBy: b.pay_by, confirmedAt: b.confirmed_at, startedAt: b.started_at, completedAt: b.completed_at, endedAt: b.ended_at,
  version: b.version, createdAt: b.created_at, updatedAt: b.updated_at,
})

app.get('/api/bookings/:id', signedIn, async (req, res) => {
  const { rows } = await pool.query({
    name: 'booking',
    text: `SELECT id, worker_id, client_id, project_id, title, description, notes, meeting_url, category, starts_at, ends_at, duration_minutes, rate_minor,
      amount_minor, currency, status, instant, expires_at, confirmed_at, pay_by, paid_at, started_at, completed_at, ended_at, version, created_at, updated_at
      FROM tulifo_booking.bookings WHERE id = $1`,
    values: [req.params.id],
  })
  const b = rows[0]
  if (!b || (b.client_id !== req.caller.sub && b.worker_id !== req.caller.sub)) return fail(res, 404, 'not_found', 'There is no such booking.')
  res.json({ success: true, data: view(b) })
})

app.post('/api/auth/login', async (req, res) => {
  const { rows } = await pool.query({ name: 'login', text: 'SELECT id, email, name, role, password_hash FROM tulifo_auth.users WHERE lower(email) = lower($1)', values: [req.body.email] })
  const user = rows[0]
  if (!user || !(await bcrypt.compare(req.body.password, user.password_hash))) return fail(res, 401, 'bad_credentials', 'The e-mail address or the password is wrong.')
  const session = randomUUID()
  const refreshToken = randomBytes(32).toString('base64url')
  await pool.query({
    name: 'session',
    text: `INSERT INTO reference.sessions (id, user_id, token_hash, expires_at) VALUES ($1, $2, $3, now() + interval '7 days')`,
    values: [session, user.id, createHash('sha256').update(refreshToken).digest()],
  })
  const accessToken = jwt.sign({ role: user.role, sid: session }, secret, { subject: user.id, issuer: 'tulifo-auth', audience: 'tulifo', expiresIn: 900 })
  res.json({ success: true, data: { user: { id: user.id, email: user.email, name: user.name, role: user.role }, accessToken, refreshToken, expiresIn: 900 } })
})

app.get('/api/auth/me', signedIn, async (req, res) => {
  const { rows } = await pool.query({ name: 'me', text: 'SELECT id, email, name, role, email_verified, created_at FROM tulifo_auth.users WHERE id = $1', values: [req.caller.sub] })
  if (!rows[0]) return fail(res, 401, 'unauthorized', 'Sign in again.')
  const u = rows[0]
  res.json({ success: true, data: { id: u.id, email: u.email, name: u.name, role: u.role, emailVerified: u.email_verified, createdAt: u.created_at } })
})

// One day after the other, in UTC: what is open, what is taken, and every start of the grid that collides with nothing.
app.get('/api/availability/worker/:id/slots', async (req, res) => {
  const minute = 60_000, day = 1440 * minute, duration = Number(req.query.duration) * minute
  const slots = []
  for (let at = Date.parse(req.query.from); at < Date.parse(req.query.to); at += day) {
    const [rules, taken] = await Promise.all([
      pool.query({ name: 'rules', text: 'SELECT start_minute, end_minute FROM tulifo_booking.weekly_rules WHERE worker_id = $1 AND day_of_week = $2', values: [req.params.id, new Date(at).getUTCDay()] }),
      pool.query({
        name: 'taken',
        text: `SELECT lower(held) AS from, upper(held) AS to FROM tulifo_booking.busy WHERE worker_id = $1 AND live AND held && tstzrange($2, $3)`,
        values: [req.params.id, new Date(at), new Date(at + 2 * day)],
      }),
    ])
    for (const r of rules.rows) {
      for (let start = at + r.start_minute * minute; start + duration <= at + r.end_minute * minute; start += 30 * minute) {
        const free = !taken.rows.some((t) => t.from < start + duration && t.to > start)
        if (free && start > Date.now()) slots.push({ startTime: new Date(start), endTime: new Date(start + duration), local: new Date(start).toISOString(), isAvailable: true })
      }
    }
  }
  res.json({ success: true, data: slots })
})

app.use((err, _req, res, _next) => fail(res, 500, 'internal', 'Something went wrong.'))
app.listen(Number(process.env.PORT), '127.0.0.1')
