-- Questions to a table of page views, of the kinds that people ask web analytics. "certain" names the columns, from 1,
-- that a LIMIT cannot change; without it all are. A statement ends with a semicolon at the end of a line.

-- C1: count
SELECT count(*) FROM hits;

-- C2: count of a rare value
SELECT count(*) FROM hits WHERE adv_engine_id <> 0;

-- C3: sums of small integers
SELECT sum(adv_engine_id), count(*), avg(resolution_width) FROM hits;

-- C4: mean of a large integer
SELECT avg(user_id) FROM hits;

-- C5: distinct integers
SELECT count(DISTINCT user_id) FROM hits;

-- C6: distinct strings
SELECT count(DISTINCT search_phrase) FROM hits;

-- C7: first and last day
SELECT min(event_date), max(event_date) FROM hits;

-- C8: few groups of few rows
SELECT adv_engine_id, count(*) AS n FROM hits WHERE adv_engine_id <> 0 GROUP BY adv_engine_id ORDER BY n DESC;

-- C9: distinct users by region
-- certain: 2
SELECT region_id, count(DISTINCT user_id) AS users FROM hits GROUP BY region_id ORDER BY users DESC LIMIT 10;

-- C10: several aggregates by region
-- certain: 3
SELECT region_id, sum(adv_engine_id), count(*) AS n, avg(resolution_width), count(DISTINCT user_id)
FROM hits GROUP BY region_id ORDER BY n DESC LIMIT 10;

-- C11: distinct users by phone model
-- certain: 2
SELECT mobile_phone_model, count(DISTINCT user_id) AS users FROM hits WHERE mobile_phone_model <> ''
GROUP BY mobile_phone_model ORDER BY users DESC LIMIT 10;

-- C12: distinct users by phone and model
-- certain: 3
SELECT mobile_phone, mobile_phone_model, count(DISTINCT user_id) AS users FROM hits WHERE mobile_phone_model <> ''
GROUP BY mobile_phone, mobile_phone_model ORDER BY users DESC LIMIT 10;

-- C13: the most frequent phrases
-- certain: 2
SELECT search_phrase, count(*) AS n FROM hits WHERE search_phrase <> ''
GROUP BY search_phrase ORDER BY n DESC LIMIT 10;

-- C14: distinct users by phrase
-- certain: 2
SELECT search_phrase, count(DISTINCT user_id) AS users FROM hits WHERE search_phrase <> ''
GROUP BY search_phrase ORDER BY users DESC LIMIT 10;

-- C15: phrases by engine
-- certain: 3
SELECT search_engine_id, search_phrase, count(*) AS n FROM hits WHERE search_phrase <> ''
GROUP BY search_engine_id, search_phrase ORDER BY n DESC LIMIT 10;

-- C16: the most active users
-- certain: 2
SELECT user_id, count(*) AS n FROM hits GROUP BY user_id ORDER BY n DESC LIMIT 10;

-- C17: users and phrases
-- certain: 3
SELECT user_id, search_phrase, count(*) AS n FROM hits GROUP BY user_id, search_phrase ORDER BY n DESC LIMIT 10;

-- C18: any ten users and phrases
-- certain: none
SELECT user_id, search_phrase, count(*) FROM hits GROUP BY user_id, search_phrase LIMIT 10;

-- C19: users, minutes and phrases
-- certain: 4
SELECT user_id, extract(minute FROM event_time) AS m, search_phrase, count(*) AS n FROM hits
GROUP BY user_id, m, search_phrase ORDER BY n DESC LIMIT 10;

-- C20: one user's views
SELECT user_id FROM hits WHERE user_id = 61068673565271239;

-- C21: LIKE over addresses
SELECT count(*) FROM hits WHERE url LIKE '%google%';

-- C22: phrases that led to some addresses
-- certain: 3
SELECT search_phrase, min(url), count(*) AS n FROM hits WHERE url LIKE '%google%' AND search_phrase <> ''
GROUP BY search_phrase ORDER BY n DESC LIMIT 10;

-- C23: two patterns and several aggregates
-- certain: 4
SELECT search_phrase, min(url), min(title), count(*) AS n, count(DISTINCT user_id) FROM hits
WHERE title LIKE '%Google%' AND url NOT LIKE '%.google.%' AND search_phrase <> ''
GROUP BY search_phrase ORDER BY n DESC LIMIT 10;

-- C24: all columns of the earliest of some addresses
-- certain: 5
SELECT * FROM hits WHERE url LIKE '%google%' ORDER BY event_time LIMIT 10;

-- C25: earliest phrases
-- certain: none
SELECT search_phrase FROM hits WHERE search_phrase <> '' ORDER BY event_time LIMIT 10;

-- C26: first phrases in the alphabet
SELECT search_phrase FROM hits WHERE search_phrase <> '' ORDER BY search_phrase LIMIT 10;

-- C27: earliest phrases in the alphabet
SELECT search_phrase FROM hits WHERE search_phrase <> '' ORDER BY event_time, search_phrase LIMIT 10;

-- C28: length of addresses by site
-- certain: 2
SELECT counter_id, avg(length(url)) AS l, count(*) AS n FROM hits WHERE url <> ''
GROUP BY counter_id HAVING count(*) > {many} ORDER BY l DESC LIMIT 25;

-- C29: hosts cut out by a regular expression
-- certain: 2
SELECT regexp_replace(referer, '^https?://(?:www\.)?([^/]+)/.*$', '\1') AS host, avg(length(referer)) AS l,
  count(*) AS n, min(referer) FROM hits WHERE referer <> ''
GROUP BY host HAVING count(*) > {many} ORDER BY l DESC LIMIT 25;

-- C30: ninety sums
SELECT sum(resolution_width), sum(resolution_width + 1), sum(resolution_width + 2), sum(resolution_width + 3),
  sum(resolution_width + 4), sum(resolution_width + 5), sum(resolution_width + 6), sum(resolution_width + 7),
  sum(resolution_width + 8), sum(resolution_width + 9), sum(resolution_width + 10), sum(resolution_width + 11),
  sum(resolution_width + 12), sum(resolution_width + 13), sum(resolution_width + 14), sum(resolution_width + 15),
  sum(resolution_width + 16), sum(resolution_width + 17), sum(resolution_width + 18), sum(resolution_width + 19),
  sum(resolution_width + 20), sum(resolution_width + 21), sum(resolution_width + 22), sum(resolution_width + 23),
  sum(resolution_width + 24), sum(resolution_width + 25), sum(resolution_width + 26), sum(resolution_width + 27),
  sum(resolution_width + 28), sum(resolution_width + 29), sum(resolution_width + 30), sum(resolution_width + 31),
  sum(resolution_width + 32), sum(resolution_width + 33), sum(resolution_width + 34), sum(resolution_width + 35),
  sum(resolution_width + 36), sum(resolution_width + 37), sum(resolution_width + 38), sum(resolution_width + 39),
  sum(resolution_width + 40), sum(resolution_width + 41), sum(resolution_width + 42), sum(resolution_width + 43),
  sum(resolution_width + 44), sum(resolution_width + 45), sum(resolution_width + 46), sum(resolution_width + 47),
  sum(resolution_width + 48), sum(resolution_width + 49), sum(resolution_width + 50), sum(resolution_width + 51),
  sum(resolution_width + 52), sum(resolution_width + 53), sum(resolution_width + 54), sum(resolution_width + 55),
  sum(resolution_width + 56), sum(resolution_width + 57), sum(resolution_width + 58), sum(resolution_width + 59),
  sum(resolution_width + 60), sum(resolution_width + 61), sum(resolution_width + 62), sum(resolution_width + 63),
  sum(resolution_width + 64), sum(resolution_width + 65), sum(resolution_width + 66), sum(resolution_width + 67),
  sum(resolution_width + 68), sum(resolution_width + 69), sum(resolution_width + 70), sum(resolution_width + 71),
  sum(resolution_width + 72), sum(resolution_width + 73), sum(resolution_width + 74), sum(resolution_width + 75),
  sum(resolution_width + 76), sum(resolution_width + 77), sum(resolution_width + 78), sum(resolution_width + 79),
  sum(resolution_width + 80), sum(resolution_width + 81), sum(resolution_width + 82), sum(resolution_width + 83),
  sum(resolution_width + 84), sum(resolution_width + 85), sum(resolution_width + 86), sum(resolution_width + 87),
  sum(resolution_width + 88), sum(resolution_width + 89) FROM hits;

-- C31: engines and addresses of those who searched
-- certain: 3
SELECT search_engine_id, client_ip, count(*) AS n, sum(is_refresh), avg(resolution_width) FROM hits
WHERE search_phrase <> '' GROUP BY search_engine_id, client_ip ORDER BY n DESC LIMIT 10;

-- C32: views of those who searched, nearly every one a group
-- certain: 3
SELECT watch_id, client_ip, count(*) AS n, sum(is_refresh), avg(resolution_width) FROM hits
WHERE search_phrase <> '' GROUP BY watch_id, client_ip ORDER BY n DESC LIMIT 10;

-- C33: all views, nearly every one a group
-- certain: 3
SELECT watch_id, client_ip, count(*) AS n, sum(is_refresh), avg(resolution_width) FROM hits
GROUP BY watch_id, client_ip ORDER BY n DESC LIMIT 10;

-- C34: the most frequent addresses
-- certain: 2
SELECT url, count(*) AS n FROM hits GROUP BY url ORDER BY n DESC LIMIT 10;

-- C35: the same with a constant key
-- certain: 3
SELECT 1, url, count(*) AS n FROM hits GROUP BY 1, url ORDER BY n DESC LIMIT 10;

-- C36: keys that follow from each other
-- certain: 5
SELECT client_ip, client_ip - 1, client_ip - 2, client_ip - 3, count(*) AS n FROM hits
GROUP BY client_ip, client_ip - 1, client_ip - 2, client_ip - 3 ORDER BY n DESC LIMIT 10;

-- C37: pages of one site
-- certain: 2
SELECT url, count(*) AS views FROM hits WHERE counter_id = 62 AND event_date >= DATE '2013-07-01'
  AND event_date <= DATE '2013-07-31' AND dont_count_hits = 0 AND is_refresh = 0 AND url <> ''
GROUP BY url ORDER BY views DESC LIMIT 10;

-- C38: titles of one site
-- certain: 2
SELECT title, count(*) AS views FROM hits WHERE counter_id = 62 AND event_date >= DATE '2013-07-01'
  AND event_date <= DATE '2013-07-31' AND dont_count_hits = 0 AND is_refresh = 0 AND title <> ''
GROUP BY title ORDER BY views DESC LIMIT 10;

-- C39: links of one site, a later page of the answer
-- certain: 2
SELECT url, count(*) AS views FROM hits WHERE counter_id = 62 AND event_date >= DATE '2013-07-01'
  AND event_date <= DATE '2013-07-31' AND is_refresh = 0 AND is_link <> 0 AND is_download = 0
GROUP BY url ORDER BY views DESC LIMIT 10 OFFSET 100;

-- C40: where the views of one site came from
-- certain: 6
SELECT traffic_source_id, search_engine_id, adv_engine_id,
  CASE WHEN search_engine_id = 0 AND adv_engine_id = 0 THEN referer ELSE '' END AS source, url AS target,
  count(*) AS views FROM hits WHERE counter_id = 62 AND event_date >= DATE '2013-07-01'
  AND event_date <= DATE '2013-07-31' AND is_refresh = 0
GROUP BY traffic_source_id, search_engine_id, adv_engine_id, source, target ORDER BY views DESC LIMIT 10 OFFSET 100;

-- C41: days of pages with one referer
-- certain: 3
SELECT url_hash, event_date, count(*) AS views FROM hits WHERE counter_id = 62 AND event_date >= DATE '2013-07-01'
  AND event_date <= DATE '2013-07-31' AND is_refresh = 0 AND traffic_source_id IN (-1, 6)
  AND referer_hash = 7347990519673328018
GROUP BY url_hash, event_date ORDER BY views DESC LIMIT 10 OFFSET 100;

-- C42: sizes of windows
-- certain: 3
SELECT window_client_width, window_client_height, count(*) AS views FROM hits WHERE counter_id = 62
  AND event_date >= DATE '2013-07-01' AND event_date <= DATE '2013-07-31' AND is_refresh = 0
  AND dont_count_hits = 0 AND url_hash = 5462198697506863299
GROUP BY window_client_width, window_client_height ORDER BY views DESC LIMIT 10 OFFSET 10;

-- C43: views by the minute
SELECT date_trunc('minute', event_time) AS m, count(*) AS views FROM hits WHERE counter_id = 62
  AND event_date >= DATE '2013-07-14' AND event_date <= DATE '2013-07-15' AND is_refresh = 0 AND dont_count_hits = 0
GROUP BY date_trunc('minute', event_time) ORDER BY m LIMIT 10 OFFSET 100;
