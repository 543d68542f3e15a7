// osls loads no .ts.
module.exports = require('./parameters.ts');
